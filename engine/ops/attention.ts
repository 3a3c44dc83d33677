import { DeitError } from '../../kernels/errors.ts';
import type { Tensor } from '../tensor.ts';
import { mul } from './binary.ts';
import { matmul } from './matmul.ts';
import { permute, reshape, slice } from './shape.ts';
import { softmax } from './softmax.ts';

/** Queries, keys and values of every head, each [B, H, N, d], from the fused projection [B, N, 3 H d]. */
function splitHeads(qkv: Tensor, heads: number, where: string): [Tensor, Tensor, Tensor] {
  const [batch, tokens, fused] = qkv.shape;
  if (qkv.rank !== 3 || heads < 1 || !Number.isInteger(heads) || fused % (3 * heads) !== 0) {
    throw new DeitError('shape-mismatch', 'Queries, keys and values do not divide into the heads.', {
      where,
      expected: `[batch, tokens, 3 x ${heads} x head width]`,
      found: qkv.toString(),
    });
  }
  const width = fused / (3 * heads);
  const parts = permute(reshape(qkv, [batch, tokens, 3, heads, width]), [2, 0, 3, 1, 4]);
  const part = (index: number): Tensor => reshape(slice(parts, 0, index, index + 1), [batch, heads, tokens, width]);
  return [part(0), part(1), part(2)];
}

const weightsOf = (q: Tensor, k: Tensor): Tensor =>
  softmax(matmul(mul(q, q.shape[3] ** -0.5), k, { transposeB: true }), -1);

/** Attention weights softmax(Q K^T / sqrt(d)) of every head, [B, H, N, N], from the fused projection [B, N, 3 H d]. */
export function attentionWeights(qkv: Tensor, heads: number): Tensor {
  const [q, k] = splitHeads(qkv, heads, 'attentionWeights');
  return weightsOf(q, k);
}

/**
 * softmax(Q K^T / sqrt(d)) V of every head, heads side by side: [B, N, 3 H d] to [B, N, H d]. The rows of the fused
 * projection are queries, keys, values, each head by head (timm's `Attention`).
 */
export function scaledDotProductAttention(qkv: Tensor, heads: number): Tensor {
  const [q, k, v] = splitHeads(qkv, heads, 'scaledDotProductAttention');
  const attended = permute(matmul(weightsOf(q, k), v), [0, 2, 1, 3]);
  const [batch, tokens] = attended.shape;
  return reshape(attended, [batch, tokens, heads * q.shape[3]]);
}
