/**
 * Mixup and cutmix of a batch with its reverse (timm 0.3.2 mixup.py, mode `batch`; recipe of DeiT):
 *
 *     mixup   y[b] = lambda x[b] + (1 - lambda) x[B-1-b]
 *     cutmix  y[b] = x[B-1-b] inside the box, x[b] outside
 *
 * x, y [batch, channels, height, width]; `mix` f32 [6] holds kind (0 none, 1 mixup, 2 cutmix), lambda, and the box
 * top, left, bottom, right (bottom and right exclusive). It is a tensor, so that a recorded step mixes anew. No gradient.
 *
 * Cost: two loads and a store per element. `deit kernel mix` shows the kernel.
 */
import { input, output, require, splitRows, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';

export interface MixProblem {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Bindings x, mix, y. One invocation per element. */
export const mix: Kernel<MixProblem> = (problem, device) => {
  const { batch, channels, height, width } = problem;
  require(batch >= 1 && channels >= 1 && height >= 1 && width >= 1, 'mix', 'positive sizes', problem);
  // The partner may lie anywhere, so x is bound whole; only the result could be split.
  const size = channels * height * width;
  return splitRows(batch, { y: 4 * size }, device, 'mix').map(({ start, rows, ranges }) =>
    perInvocation(
      {
        name: 'mix',
        bindings: [input('x'), input('mix'), output('y')],
        uniforms: {
          batch: u32(batch),
          first: u32(start),
          size: u32(size),
          height: u32(height),
          width: u32(width),
        },
        ranges,
        count: rows * size,
        body: /* wgsl */ `
  let image = params.first + i / params.size;
  let within = i % params.size;
  let own = x[image * params.size + within];
  let partner = x[(params.batch - 1u - image) * params.size + within];
  let row = f32((within / params.width) % params.height);
  let column = f32(within % params.width);
  let boxed = row >= mix[2] && row < mix[4] && column >= mix[3] && column < mix[5];
  if (mix[0] == 1.0) { y[i] = mix[1] * own + (1.0 - mix[1]) * partner; }
  else { y[i] = select(own, partner, mix[0] == 2.0 && boxed); }`,
        cost: { flops: 3 * rows * size, bytes: 12 * rows * size },
      },
      device,
    ),
  );
};
