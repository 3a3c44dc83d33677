import type { DeviceProfile } from '../device.ts';
import { inHalf } from '../half.ts';
import type { Kernel } from '../kernel.ts';
import { hasSubgroups } from '../matmul/subgroup.ts';
import { checkAttention } from './problem.ts';
import type { AttentionProblem, AttentionVariant } from './problem.ts';
import { forwardSubgroup, keyValueGradientSubgroup, queryGradientSubgroup } from './subgroup.ts';
import { forwardWorkgroup, keyValueGradientWorkgroup, queryGradientWorkgroup } from './workgroup.ts';

export type { AttentionProblem, AttentionVariant } from './problem.ts';

/** What an f16 problem has as f16. */
const HALVES = ['qkv', 'y', 'dy', 'dqkv'];

const variantFor = ({ variant }: AttentionProblem, device: DeviceProfile): AttentionVariant =>
  variant ?? (device.cpu && hasSubgroups(device) ? 'subgroup' : 'workgroup');

const choose =
  (subgroup: Kernel<AttentionProblem>, workgroup: Kernel<AttentionProblem>): Kernel<AttentionProblem> =>
  (problem, device) => {
    checkAttention(problem);
    const kernel = variantFor(problem, device) === 'subgroup' ? subgroup : workgroup;
    return inHalf(kernel(problem, device), problem.half ? HALVES : undefined);
  };

/** y and stats [B, H, N, 2] from qkv: see problem.ts. */
export const attentionForward = choose(forwardSubgroup, forwardWorkgroup);

/** The queries' part of dqkv, and delta [B, H, N], from qkv, y, dy and stats. */
export const attentionQueryGradient = choose(queryGradientSubgroup, queryGradientWorkgroup);

/** The keys' and values' parts of dqkv, from qkv, dy, stats and delta. */
export const attentionKeyValueGradient = choose(keyValueGradientSubgroup, keyValueGradientWorkgroup);
