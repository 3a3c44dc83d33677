import { attentionForward, attentionKeyValueGradient, attentionQueryGradient } from '../../kernels/attention/index.ts';
import type { AttentionProblem } from '../../kernels/attention/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { mul } from './binary.ts';
import { matmul } from './matmul.ts';
import { permute, reshape, slice } from './shape.ts';
import { softmax } from './softmax.ts';

/** Sizes of the fused projection [B, N, 3 H d]; throws unless it is one. */
function headsOf(qkv: Tensor, heads: number, where: string): AttentionProblem {
  if (qkv.dtype !== 'f16') expectFloat(qkv, where);
  const [batch, tokens, fused] = qkv.shape;
  if (qkv.rank !== 3 || !Number.isInteger(heads) || heads < 1 || fused % (3 * heads) !== 0 || qkv.size === 0) {
    throw new DeitError('shape-mismatch', 'Queries, keys and values do not divide into the heads.', {
      where,
      expected: `[batch, tokens, 3 x ${heads} x head width]`,
      found: qkv.toString(),
    });
  }
  return { batch, tokens, heads, width: fused / (3 * heads), f16: qkv.dtype === 'f16' };
}

/** Queries and keys of every head, each [B, H, N, d]. */
function splitHeads(qkv: Tensor, { batch, tokens, heads, width }: AttentionProblem): [Tensor, Tensor] {
  const parts = permute(reshape(qkv, [batch, tokens, 3, heads, width]), [2, 0, 3, 1, 4]);
  const part = (index: number): Tensor => reshape(slice(parts, 0, index, index + 1), [batch, heads, tokens, width]);
  return [part(0), part(1)];
}

/**
 * Attention probabilities softmax(Q K^T / sqrt(d)) of every head, [B, H, N, N], from the fused projection [B, N, 3 H d]: for
 * inspection, since attention itself never holds them.
 */
export function attentionProbabilities(qkv: Tensor, heads: number): Tensor {
  expectFloat(qkv, 'attentionProbabilities');
  const problem = headsOf(qkv, heads, 'attentionProbabilities');
  const [q, k] = splitHeads(qkv, problem);
  return softmax(matmul(mul(q, problem.width ** -0.5), k, { transposeB: true }), -1);
}

const attentionOp = defineOp<AttentionProblem>({
  name: 'scaledDotProductAttention',
  precision: { operands: 'any', result: 'operand' },
  forward(ctx, [qkv]) {
    const { batch, tokens, heads, width } = ctx.attributes;
    const y = ctx.result([batch, tokens, heads * width]);
    const stats = ctx.empty([batch, heads, tokens, 2]);
    ctx.run(attentionForward, ctx.attributes, { qkv: qkv!, y, stats });
    ctx.save(qkv!, y, stats);
    return [y];
  },
  backward(ctx, [dy]) {
    const [qkv, y, stats] = ctx.saved;
    const { batch, tokens, heads } = ctx.attributes;
    const delta = ctx.empty([batch, heads, tokens]);
    const dqkv = ctx.gradient(0);
    ctx.run(attentionQueryGradient, ctx.attributes, { qkv, y, dy: dy!, stats, dqkv, delta });
    ctx.run(attentionKeyValueGradient, ctx.attributes, { qkv, dy: dy!, stats, delta, dqkv });
  },
});

/**
 * softmax(Q K^T / sqrt(d)) V of every head, heads side by side: [B, N, 3 H d] to [B, N, H d]. The rows of the fused
 * projection are queries, keys, values, each head by head (timm's `Attention`). No matrix of probabilities is stored,
 * forward or backward. f16 gives f16, with all arithmetic in f32; on tensor cores, probabilities and their gradients are
 * rounded to f16.
 */
export function scaledDotProductAttention(qkv: Tensor, heads: number): Tensor {
  return attentionOp([qkv], headsOf(qkv, heads, 'scaledDotProductAttention'))[0];
}
