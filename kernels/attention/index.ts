import type { DeviceProfile } from '../device.ts';
import { inHalf } from '../half.ts';
import type { Kernel } from '../kernel.ts';
import { hasSubgroups } from '../matmul/subgroup.ts';
import { checkAttention } from './problem.ts';
import type { AttentionPart, AttentionProblem, AttentionVariant } from './problem.ts';
import { forwardSubgroup, keyValueGradientSubgroup, otherRows, queryGradientSubgroup } from './subgroup.ts';
import { forwardWorkgroup, keyValueGradientWorkgroup, queryGradientWorkgroup } from './workgroup.ts';

export type { AttentionPart, AttentionProblem, AttentionVariant } from './problem.ts';

/** What an f16 problem has as f16. */
const HALVES = ['qkv', 'y', 'dy', 'dqkv'];

const variantFor = ({ variant }: AttentionProblem, device: DeviceProfile): AttentionVariant =>
  variant ?? (device.cpu && hasSubgroups(device) ? 'subgroup' : 'workgroup');

const choose =
  (subgroup: Kernel<AttentionProblem>, workgroup: Kernel<AttentionProblem>): Kernel<AttentionProblem> =>
  (problem, device) => {
    checkAttention(problem);
    const kernel = variantFor(problem, device) === 'workgroup' ? workgroup : subgroup;
    return inHalf(kernel(problem, device), problem.half ? HALVES : undefined);
  };

/** Every variant of a part that is worth measuring for a problem on a device, the usual one first. */
export function attentionVariants(
  part: AttentionPart,
  problem: AttentionProblem,
  device: DeviceProfile,
): AttentionVariant[] {
  const usual = variantFor({ ...problem, variant: undefined }, device);
  if (!hasSubgroups(device)) return [usual];
  const cuts = otherRows(problem, device, part).map((rows): AttentionVariant => `subgroup:${rows}`);
  // On a processor, barriers between lanes are hopeless, and slow to compile.
  return device.cpu ? [usual, ...cuts] : [usual, 'subgroup', ...cuts];
}

/** y and stats [B, H, N, 2] from qkv: see problem.ts. */
export const attentionForward = choose(forwardSubgroup, forwardWorkgroup);

/** The queries' part of dqkv, and delta [B, H, N], from qkv, y, dy and stats. */
export const attentionQueryGradient = choose(queryGradientSubgroup, queryGradientWorkgroup);

/** The keys' and values' parts of dqkv, from qkv, dy, stats and delta. */
export const attentionKeyValueGradient = choose(keyValueGradientSubgroup, keyValueGradientWorkgroup);
