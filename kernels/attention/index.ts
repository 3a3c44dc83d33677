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

/** y and stats [B, H, N, 2] from qkv: see problem.ts. */
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
