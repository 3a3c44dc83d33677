import { ceilDiv } from '../device.ts';
import type { DeviceProfile } from '../device.ts';
import { inHalf } from '../half.ts';
import { require } from '../kernel.ts';
import type { Kernel } from '../kernel.ts';
import { planMatmul } from './batch.ts';
import { matmulGeneral } from './general.ts';
import { checkMatmul, matmulCost, tiling } from './problem.ts';
import type { MatmulProblem, Variant } from './problem.ts';
import { fitsSubgroup, hasSubgroups, matmulSubgroup, subgroupTile } from './subgroup.ts';
import { matmulSubgroupRows } from './subgroup-rows.ts';
import { matmulSubgroupStrided } from './subgroup-strided.ts';
import { BUSY_WORKGROUPS, LARGE_TILE, matmulWorkgroup, SMALL_TILE, workgroupTile } from './workgroup.ts';

export type { BatchAxis, MatmulOperand, MatmulProblem, MatmulTarget, Variant } from './problem.ts';
export type { Epilogue } from './epilogue.ts';
export { laidLength, layColumns } from './lay-columns.ts';

/** Work below which the variant that compiles fastest is the fastest. */
const SMALL = 4e6;
/** Rows from which on lanes that own rows are kept busy. */
const MANY_ROWS = 32;

/** The variant for a problem on a device, if nobody asks for another. */
function variantFor(problem: MatmulProblem, device: DeviceProfile): Variant {
  if (!device.cpu) return workgroupTile(problem, device) === SMALL_TILE ? 'workgroup' : 'workgroup_large';
  if (!hasSubgroups(device) || matmulCost(problem).flops < SMALL) return 'general';
  if (!problem.a.transposed && problem.b.transposed && !problem.rowSums && problem.m >= MANY_ROWS)
    return 'subgroup_rows';
  return fitsSubgroup(problem) ? 'subgroup' : 'subgroup_strided';
}

/**
 * Whether the product is faster if `layColumns` lays b out anew first, the time that takes included: [n, k] in whole
 * vectors, then `transposed` and `padded`. A kernel has no memory of its own, so its caller has to do that.
 */
export function prefersLaidColumns(problem: MatmulProblem, device: DeviceProfile): boolean {
  const { a, b, m, k, batch = [] } = problem;
  if (!device.cpu || !hasSubgroups(device) || matmulCost(problem).flops < SMALL || m < 4 * MANY_ROWS) return false;
  if (a.transposed || b.padded || batch.some((axis) => axis.b !== 0)) return false;
  return !b.transposed || [k, b.ld, b.offset ?? 0].some((size) => size % 4 !== 0);
}

/** Whether row sums cost nothing beside the product; if not, its caller sums the rows of a otherwise. */
export function fusesRowSums(problem: MatmulProblem, device: DeviceProfile): boolean {
  const whole = planMatmul(problem, device).length === 1;
  return whole && !variantFor(problem, device).startsWith('workgroup');
}

/** Shortest part of a sum over k that is worth a workgroup of its own. */
const LEAST_DEPTH = 256;

/**
 * In how many parts the sum over k is best taken (the gradients of weights: few results, long sums), for callers that can
 * lend memory for the parts and add them. 1 where that is no gain.
 */
export function partsOfSum(problem: MatmulProblem, device: DeviceProfile): number {
  const { batch = [], epilogue = {}, rowSums, k } = problem;
  if (device.cpu || rowSums || batch.some((axis) => axis.size > 1) || Object.values(epilogue).includes(true)) return 1;
  if (planMatmul(problem, device).length > 1) return 1;
  const { tiles } = tiling(problem, SMALL_TILE, SMALL_TILE);
  return Math.max(1, Math.min(ceilDiv(BUSY_WORKGROUPS, tiles), Math.floor(k / LEAST_DEPTH)));
}

/** y = scale * a b + epilogue: see MatmulProblem. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  const plan = planMatmul(problem, device);
  require(!problem.rowSums || plan.length === 1, 'matmul', 'row sums of what one launch can bind', problem);
  const launches = plan.flatMap((part) => {
    switch (part.variant ?? variantFor(part, device)) {
      case 'subgroup':
        return matmulSubgroup(part, subgroupTile(part, device), device);
      case 'subgroup_rows':
        return matmulSubgroupRows(part, device);
      case 'subgroup_strided':
        return matmulSubgroupStrided(part, device);
      case 'workgroup':
        return matmulWorkgroup(part, SMALL_TILE, device);
      case 'workgroup_large':
        return matmulWorkgroup(part, LARGE_TILE, device);
      default:
        return matmulGeneral(part, device);
    }
  });
  return inHalf(launches, problem.half);
};
