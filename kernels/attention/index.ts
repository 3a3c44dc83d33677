/**
 * Softmax attention of every head on the fused projection (timm's `Attention`), without a matrix of weights in memory:
 *
 *     s_ij = q_i . k_j / sqrt(d)        w_ij = exp(s_ij - m_i) / l_i        y_i = sum_j w_ij v_j
 *
 * qkv [B, N, 3, H, d] (queries, keys, values, each head by head), y [B, N, H, d]. m_i is a score near the largest of
 * row i and l_i the sum of exp(s_ij - m_i): a reference that is only moved when a score exceeds it by more than
 * `HEADROOM` (problem.ts; `HALF_HEADROOM` where exp is rounded to f16 for the next product), so that exp neither overflows nor loses
 * what matters (Milakov and Gimelshein, 2018, with a lazy maximum).
 *
 * Kept for the backward pass: qkv, y and stats [B, H, N, 2] = (m_i, 1 / l_i). Weights are computed again there:
 *
 *     delta_i = dy_i . y_i              ds_ij = w_ij (dy_i . v_j - delta_i)
 *     dq_i = sum_j ds_ij k_j / sqrt(d)  dk_j = sum_i ds_ij q_i / sqrt(d)    dv_j = sum_i w_ij dy_i
 *
 * (Dao et al., 2022.) Gradients are written, into one tensor laid out like qkv. Every sum has one order, so that results
 * do not vary between runs.
 *
 * Cost: 4 N^2 d FLOP a head forward, 14 N^2 d backward. `deit kernel attention` shows the kernels.
 */
import { hasSubgroups } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inHalf } from '../lib/f16-storage.ts';
import type { Kernel } from '../lib/kernel.ts';
import { matrixSide } from './matrices.ts';
import { checkAttention } from './problem.ts';
import type { AttentionPart, AttentionProblem, AttentionVariant } from './problem.ts';
import { forwardSubgroup, keyValueGradientSubgroup, otherRows, queryGradientSubgroup } from './subgroup.ts';
import {
  forwardSubgroupMatrix,
  keyValueGradientSubgroupMatrix,
  queryGradientSubgroupMatrix,
} from './subgroup-matrix.ts';
import { forwardWorkgroup, keyValueGradientWorkgroup, queryGradientWorkgroup } from './workgroup.ts';

export type { AttentionPart, AttentionProblem, AttentionVariant } from './problem.ts';

/** What an f16 problem has as f16. */
const HALVES = ['qkv', 'y', 'dy', 'dqkv'];

/** The variant for tensors that no subgroup matrices take. */
const plainVariant = (device: DeviceProfile): AttentionVariant =>
  device.cpu && hasSubgroups(device) ? 'subgroup' : 'workgroup';

const usualVariant = (problem: AttentionProblem, device: DeviceProfile): AttentionVariant =>
  matrixSide(problem, device) === null ? plainVariant(device) : 'subgroup_matrix';

const choose =
  (
    subgroup: Kernel<AttentionProblem>,
    subgroupMatrix: Kernel<AttentionProblem>,
    workgroup: Kernel<AttentionProblem>,
  ): Kernel<AttentionProblem> =>
  (problem, device) => {
    checkAttention(problem);
    const variant = problem.variant ?? usualVariant(problem, device);
    const others = variant === 'subgroup_matrix' ? subgroupMatrix : subgroup;
    const kernel = variant === 'workgroup' ? workgroup : others;
    return inHalf(kernel(problem, device), problem.half ? HALVES : undefined);
  };

/** Every variant of a part that is worth measuring for a problem on a device, the usual one first. */
export function attentionVariants(
  part: AttentionPart,
  problem: AttentionProblem,
  device: DeviceProfile,
): AttentionVariant[] {
  const usual = [...new Set([usualVariant(problem, device), plainVariant(device)])];
  if (!hasSubgroups(device)) return usual;
  const cuts = otherRows(problem, device, part).map((rows): AttentionVariant => `subgroup:${rows}`);
  // On a processor, barriers between lanes are hopeless, and slow to compile.
  return device.cpu ? [...usual, ...cuts] : [...usual, 'subgroup', ...cuts];
}

/** y and stats [B, H, N, 2] from qkv: see above. */
export const attentionForward = choose(forwardSubgroup, forwardSubgroupMatrix, forwardWorkgroup);

/** The queries' part of dqkv, and delta [B, H, N], from qkv, y, dy and stats. */
export const attentionQueryGradient = choose(
  queryGradientSubgroup,
  queryGradientSubgroupMatrix,
  queryGradientWorkgroup,
);

/** The keys' and values' parts of dqkv, from qkv, dy, stats and delta. */
export const attentionKeyValueGradient = choose(
  keyValueGradientSubgroup,
  keyValueGradientSubgroupMatrix,
  keyValueGradientWorkgroup,
);
