import {
  attentionForward,
  attentionKeyValueGradient,
  attentionQueryGradient,
  attentionVariants,
} from '../../kernels/attention/index.ts';
import type { AttentionPart, AttentionProblem, AttentionVariant } from '../../kernels/attention/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { expectFloat } from '../autocast.ts';
import { defineOp } from '../op.ts';
import type { BackwardContext } from '../tape.ts';
import type { Tensor, TensorEngine } from '../tensor.ts';
import type { Tunable, Way } from '../variants.ts';
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
  return { batch, tokens, heads, width: fused / (3 * heads), half: qkv.dtype === 'f16' };
}

/** Queries and keys of every head, each [B, H, N, d]. */
function splitHeads(qkv: Tensor, { batch, tokens, heads, width }: AttentionProblem): [Tensor, Tensor] {
  const parts = permute(reshape(qkv, [batch, tokens, 3, heads, width]), [2, 0, 3, 1, 4]);
  const part = (index: number): Tensor => reshape(slice(parts, 0, index, index + 1), [batch, heads, tokens, width]);
  return [part(0), part(1)];
}

/**
 * Attention weights softmax(Q K^T / sqrt(d)) of every head, [B, H, N, N], from the fused projection [B, N, 3 H d]: for
 * inspection, since attention itself never holds them.
 */
export function attentionWeights(qkv: Tensor, heads: number): Tensor {
  expectFloat(qkv, 'attentionWeights');
  const problem = headsOf(qkv, heads, 'attentionWeights');
  const [q, k] = splitHeads(qkv, problem);
  return softmax(matmul(mul(q, problem.width ** -0.5), k, { transposeB: true }), -1);
}

interface AttentionWay extends Way {
  readonly name: AttentionVariant;
}

/** For each part: its kernel, what that writes which does not depend on the variant, and its products of N x N x d. */
const PARTS = {
  forward: { kernel: attentionForward, results: ['y'], products: 2 },
  query: { kernel: attentionQueryGradient, results: ['dqkv', 'delta'], products: 3 },
  keyValue: { kernel: attentionKeyValueGradient, results: ['dqkv'], products: 4 },
} as const;

/** The variants of a part of attention, for the tuner. */
function tunable(part: AttentionPart): Tunable<AttentionProblem, AttentionWay> {
  const { kernel, results, products } = PARTS[part];
  return {
    name: `attention.${part}`,
    ways: (problem, device) => attentionVariants(part, problem, device).map((name) => ({ name })),
    flops: ({ batch, tokens, heads, width }) => 2 * products * batch * heads * tokens * tokens * width,
    describe: ({ batch, tokens, heads, width }) => `attention (${part}) ${batch}x${heads}x${tokens}x${width}`,
    trial(engine, problem, uniform) {
      const { batch, tokens, heads, width, half } = problem;
      const dtype = half ? 'f16' : 'f32';
      const fused = [batch, tokens, 3 * heads * width];
      const merged = [batch, tokens, heads * width];
      const tensors = {
        qkv: uniform(fused, dtype),
        y: uniform(merged, dtype),
        dy: uniform(merged, dtype),
        // The reference and the scale of a row's weights may be any numbers near 1 for the gradients' kernels.
        stats: uniform([batch, heads, tokens, 2]),
        delta: uniform([batch, heads, tokens]),
        dqkv: uniform(fused, dtype),
      };
      return {
        record: ({ name }) => engine.run('tune', kernel, { ...problem, variant: name }, tensors),
        results: results.map((name) => tensors[name]),
        // The rounding of scores, which are sums of d products, and of sums over tokens. To f16, results of both ways are
        // rounded, and weights of one at most: in the norm each is off by some 0.4 of the largest error.
        tolerance: 2 ** -24 * (64 + 64 * Math.sqrt(width) + 2 * Math.sqrt(tokens)) + (half ? 2 ** -11 : 0),
      };
    },
  };
}

const tunables = { forward: tunable('forward'), query: tunable('query'), keyValue: tunable('keyValue') };

/** Records one part in the variant that was measured to be fastest, or in the usual one. */
function runPart(
  ctx: { run: BackwardContext<AttentionProblem>['run'] },
  engine: TensorEngine,
  part: AttentionPart,
  problem: AttentionProblem,
  tensors: Readonly<Record<string, Tensor>>,
): void {
  const variant = engine.variants.find(tunables[part], problem)?.name;
  ctx.run(PARTS[part].kernel, variant ? { ...problem, variant } : problem, tensors);
}

const attentionOp = defineOp<AttentionProblem>({
  name: 'scaledDotProductAttention',
  half: true,
  forward(ctx, [qkv]) {
    const { batch, tokens, heads, width } = ctx.attributes;
    const y = ctx.empty([batch, tokens, heads * width], qkv!.dtype);
    const stats = ctx.empty([batch, heads, tokens, 2]);
    runPart(ctx, ctx.engine, 'forward', ctx.attributes, { qkv: qkv!, y, stats });
    ctx.save(qkv!, y, stats);
    return [y];
  },
  backward(ctx, [dy]) {
    const [qkv, y, stats] = ctx.saved;
    const { engine } = qkv;
    const { batch, tokens, heads } = ctx.attributes;
    const delta = ctx.empty([batch, heads, tokens]);
    const dqkv = ctx.gradient(0);
    runPart(ctx, engine, 'query', ctx.attributes, { qkv, y, dy: dy!, stats, dqkv, delta });
    runPart(ctx, engine, 'keyValue', ctx.attributes, { qkv, dy: dy!, stats, delta, dqkv });
  },
});

/**
 * softmax(Q K^T / sqrt(d)) V of every head, heads side by side: [B, N, 3 H d] to [B, N, H d]. The rows of the fused
 * projection are queries, keys, values, each head by head (timm's `Attention`). No matrix of weights is stored, forward
 * or backward. f16 gives f16, with all arithmetic in f32; on tensor cores, weights and their gradients are rounded to f16.
 */
export function scaledDotProductAttention(qkv: Tensor, heads: number): Tensor {
  return attentionOp([qkv], headsOf(qkv, heads, 'scaledDotProductAttention'))[0];
}
