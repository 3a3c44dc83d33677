import { gatherElements } from '../../kernels/gather/index.ts';
import { scatterElements } from '../../kernels/scatter/index.ts';
import type { ScatterProblem } from '../../kernels/scatter/index.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { expectIndex, linesAlong } from './gather.ts';
import { INVALID } from './index-select.ts';
import { slice } from './shape.ts';

function scattering(name: string, mode: 'replace' | 'add') {
  return defineOp<ScatterProblem>({
    name,
    forward(ctx, inputs) {
      const [x, index, src] = [inputs[0]!, inputs[1]!, inputs[2]!];
      const y = ctx.empty(x.shape);
      ctx.run(scatterElements, { ...ctx.attributes, mode }, { x, index, src, y });
      ctx.save(index);
      return [y];
    },
    backward(ctx, [dy]) {
      const [index] = ctx.saved;
      if (ctx.needs(0) && mode === 'add') ctx.pass(0, dy!);
      if (ctx.needs(0) && mode === 'replace') {
        ctx.run(scatterElements, { ...ctx.attributes, mode: 'mask' }, { x: dy!, index, y: ctx.gradient(0) });
      }
      if (ctx.needs(2)) {
        ctx.run(gatherElements, { ...ctx.attributes, invalid: INVALID.f32 }, { x: dy!, index, y: ctx.gradient(2) });
      }
    },
  });
}

const ops = { scatter: scattering('scatter', 'replace'), scatterAdd: scattering('scatterAdd', 'add') };

function scatterBy(name: keyof typeof ops, x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor {
  const source = typeof src === 'number' ? x.engine.full(index.shape, src) : src;
  for (const tensor of [x, source]) expectFloat(tensor, name);
  const d = expectIndex(x, dim, index, name, (i) => index.shape[i] === x.shape[i]);
  expectIndex(source, dim, index, `${name}, src`, (i) => index.shape[i] <= source.shape[i]);
  if (index.size === 0) return x;
  const part = source.shape.reduce(
    (y, size, i) => (index.shape[i] < size ? slice(y, i, 0, index.shape[i]) : y),
    source,
  );
  return ops[name]([x, index, part], linesAlong(x.shape, index.shape, d))[0];
}

/**
 * x with src[..., k, ...] at [..., index[..., k, ...], ...] along `dim`. `index` (i32) has the sizes of x but along `dim`; src is a
 * number, or not smaller than `index`. Of equal indices the last stays; indices out of range go nowhere.
 */
export const scatter = (x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor =>
  scatterBy('scatter', x, dim, index, src);

/** As `scatter`, but what goes to a place is added to x, in the order of the indices. */
export const scatterAdd = (x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor =>
  scatterBy('scatterAdd', x, dim, index, src);
