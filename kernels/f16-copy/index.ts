/**
 * f16 copies of some of the f32 tensors in a flat buffer of n elements, in one dispatch: blocks of 64 elements, each of one
 * tensor (lib/flat-update.ts), go from x to where `places` says.
 *
 *     y[64 places[b] + i] = x[64 b + i]        unless places[b] is 2^32 - 1, for tensors that are not wanted
 *
 * No gradient. Cost: each element is read once and written in half the bytes. `deit kernel f16_copy` shows the kernel.
 */
import { pointwise } from '../lib/elementwise.ts';
import { BLOCK_ELEMENTS } from '../lib/flat-update.ts';
import { input, output, require } from '../lib/kernel.ts';

/** `places` entry of a block that is left out. */
export const LEFT_OUT = 0xffffffff;

const BLOCK_VECTORS = BLOCK_ELEMENTS / 4;

/** Bindings x, places (u32, one a block), y. */
export const f16Copy = pointwise<{ readonly n: number }>('f16_copy', ({ n }, device) => {
  require(n > 0 && n % BLOCK_ELEMENTS === 0, 'f16_copy', 'n is a positive multiple of 64', n);
  require(device.f16, 'f16_copy', 'a device with f16', device.f16);
  return {
    name: 'f16_copy',
    n,
    bindings: [input('x', 'vec4f')],
    shared: [input('places', 'u32'), output('y', 'vec4h')],
    enables: ['f16'],
    body: /* wgsl */ `
      let vector = i + params.first_vector;
      let place = places[vector / ${BLOCK_VECTORS}u];
      if (place != ${LEFT_OUT}u) { y[place * ${BLOCK_VECTORS}u + vector % ${BLOCK_VECTORS}u] = vec4h(x[i]); }`,
    flopsPerElement: 0,
    sharedBytes: 2,
  };
});
