/**
 * Softmax attention of every head on the fused projection (timm's `Attention`), without a matrix of probabilities in memory:
 *
 *     s_ij = q_i . k_j / sqrt(d)        p_ij = exp(s_ij - m_i) / l_i        y_i = sum_j p_ij v_j
 *
 * qkv [B, N, 3, H, d] (queries, keys, values, each head by head), y [B, N, H, d]. m_i is a score near the largest of
 * row i and l_i the sum of exp(s_ij - m_i): a running max that is only raised when a score exceeds it by more than `HEADROOM`
 * (problem.ts; `F16_HEADROOM` where exp is rounded to f16 for the next product), so that exp neither overflows nor loses
 * what matters (Milakov and Gimelshein, 2018, with a lazy maximum).
 *
 * Kept for the backward pass: qkv, y and stats [B, H, N, 2] = (m_i, 1 / l_i). Probabilities are computed again there:
 *
 *     delta_i = dy_i . y_i              ds_ij = p_ij (dy_i . v_j - delta_i)
 *     dq_i = sum_j ds_ij k_j / sqrt(d)  dk_j = sum_i ds_ij q_i / sqrt(d)    dv_j = sum_i p_ij dy_i
 *
 * (Dao et al., 2022.) Gradients are written, into one tensor laid out like qkv. Every sum has one order, so that results
 * do not vary between runs.
 *
 * Cost: 4 N^2 d FLOP per head forward, 14 N^2 d backward. `deit kernel attention` shows the kernels.
 */
import { inF16 } from '../lib/f16-storage.ts';
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import type { Variant } from '../lib/variant.ts';
import { attentionPlain } from './plain.ts';
import { checkAttention } from './problem.ts';
import type { AttentionPart, AttentionProblem } from './problem.ts';
import { subgroupVariants } from './subgroup.ts';
import { subgroupMatrix } from './subgroup-matrix.ts';
import { attentionTuning } from './tuning.ts';
import { workgroupVariants } from './workgroup.ts';

export type { AttentionProblem } from './problem.ts';

/** Bindings that are f16 in an f16 problem. */
const F16 = ['qkv', 'y', 'dy', 'dqkv'];

const inStorage = (variant: Variant<AttentionProblem>): Variant<AttentionProblem> => ({
  ...variant,
  launches: (problem, device) => inF16(variant.launches(problem, device), problem.f16 ? F16 : undefined),
});

/** Bytes of qkv. */
const largestTensor = ({ batch, tokens, heads, width, f16 }: AttentionProblem): number =>
  (f16 ? 2 : 4) * 3 * batch * tokens * heads * width;

/** The variants of a part, in order of preference. */
const variants = (part: AttentionPart): Variant<AttentionProblem>[] => {
  const [subgroup, ...otherRows] = subgroupVariants(part);
  return [
    subgroupMatrix(part),
    subgroup,
    ...workgroupVariants(part),
    ...otherRows,
    plain(largestTensor, attentionPlain(part)),
  ].map(inStorage);
};

const kernel = (name: string, part: AttentionPart) =>
  kernelOf(`attention.${name}`, checkAttention, variants(part), attentionTuning(part));

/** y and stats [B, H, N, 2] from qkv: see above. */
export const attentionForward = kernel('forward', 'forward');

/** The queries' part of dqkv, and delta [B, H, N], from qkv, y, dy and stats. */
export const attentionQueryGradient = kernel('query_gradient', 'query');

/** The keys' and values' parts of dqkv, from qkv, dy, stats and delta. */
export const attentionKeyValueGradient = kernel('key_value_gradient', 'keyValue');
