import { DeitError } from '../../kernels/lib/errors.ts';
import {
  assembleTokens as assembleKernel,
  tokensEmbeddingGradient,
  tokensPatchGradient,
} from '../../kernels/tokens/index.ts';
import type { TokensProblem } from '../../kernels/tokens/index.ts';
import { defineOp } from '../op.ts';
import { expectShape, formatShape } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';

/** Inputs: patches, cls, dist or null, pos. */
const assembleOp = defineOp<TokensProblem>({
  name: 'assembleTokens',
  forward(ctx, [patches, cls, dist, pos]) {
    const { batch, width } = ctx.attributes;
    const y = ctx.empty([batch, pos!.size / width, width]);
    ctx.run(assembleKernel, ctx.attributes, { patches: patches!, cls: cls!, ...(dist && { dist }), pos: pos!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    const problem = ctx.attributes;
    if (ctx.needs(0)) ctx.run(tokensPatchGradient, problem, { dy: dy!, dpatches: ctx.gradient(0) });
    const wanted = (
      [
        ['dcls', 1],
        ['ddist', 2],
        ['dpos', 3],
      ] as const
    ).filter(([, input]) => ctx.needs(input));
    if (wanted.length === 0) return;
    const gradients = Object.fromEntries(wanted.map(([name, input]) => [name, ctx.gradient(input)]));
    ctx.run(tokensEmbeddingGradient, { ...problem, wanted: wanted.map(([name]) => name) }, { dy: dy!, ...gradients });
  },
});

/**
 * The token sequence of a vision transformer: [cls, dist, patches] along the second dimension, plus the position
 * embedding of each. patches [B, n, D], cls and dist [1, 1, D] (dist may be null), pos [1, N, D]; result [B, N, D] with
 * N = n + 1 or n + 2.
 */
export function assembleTokens(patches: Tensor, cls: Tensor, dist: Tensor | null, pos: Tensor): Tensor {
  const where = 'assembleTokens';
  const [batch, count, width] = patches.shape;
  if (patches.rank !== 3 || patches.size === 0) {
    throw new DeitError('shape-mismatch', 'The patches are [batch, count, width].', {
      where,
      found: formatShape(patches.shape),
    });
  }
  for (const tensor of [patches, cls, dist, pos]) {
    if (!tensor || tensor.dtype === 'f32') continue;
    throw new DeitError('dtype-mismatch', 'Tokens are f32.', { where, found: tensor.toString() });
  }
  expectShape(cls.shape, [1, 1, width], where, 'cls');
  if (dist) expectShape(dist.shape, [1, 1, width], where, 'dist');
  expectShape(pos.shape, [1, count + (dist ? 2 : 1), width], where, 'pos');
  return assembleOp([patches, cls, dist, pos], { batch, patches: count, width, dist: dist !== null })[0];
}
