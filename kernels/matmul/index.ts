import type { DeviceProfile } from '../device.ts';
import type { Kernel } from '../kernel.ts';
import { planMatmul } from './batch.ts';
import { matmulGeneral } from './general.ts';
import { checkMatmul, matmulCost } from './problem.ts';
import type { MatmulProblem, Variant } from './problem.ts';
import { fitsSubgroup, hasSubgroups, matmulSubgroup, subgroupTile } from './subgroup.ts';
import { matmulSubgroupRows } from './subgroup-rows.ts';
import { matmulSubgroupStrided } from './subgroup-strided.ts';

export type { BatchAxis, MatmulOperand, MatmulProblem, MatmulTarget, Variant } from './problem.ts';
export type { Epilogue } from './epilogue.ts';

/** Work below which the variant that compiles fastest is the fastest. */
const SMALL = 4e6;
/** Rows from which on lanes that own rows are kept busy. */
const MANY_ROWS = 32;

/** The variant for a problem on a device, if nobody asks for another. */
function variantFor(problem: MatmulProblem, device: DeviceProfile): Variant {
  if (!device.cpu || !hasSubgroups(device) || matmulCost(problem).flops < SMALL) return 'general';
  if (!fitsSubgroup(problem)) return 'subgroup_strided';
  const rows = !problem.a.transposed && problem.b.transposed && !problem.rowSums && problem.m >= MANY_ROWS;
  return rows ? 'subgroup_rows' : 'subgroup';
}

/**
 * Whether the product is faster with b turned round first (b [k, n] to [n, k], then `b.transposed`), the time that takes
 * included. A kernel has no memory of its own, so its caller has to do that.
 */
export function prefersTurnedB(problem: MatmulProblem, device: DeviceProfile): boolean {
  const { a, b, m, n, batch = [] } = problem;
  if (a.transposed || b.transposed || b.offset || b.ld !== n || batch.some((axis) => axis.b !== 0)) return false;
  return m >= 4 * MANY_ROWS && variantFor(problem, device) === 'subgroup';
}

/** y = scale * a b + epilogue: see MatmulProblem. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  return planMatmul(problem).flatMap((part) => {
    switch (part.variant ?? variantFor(part, device)) {
      case 'subgroup':
        return matmulSubgroup(part, subgroupTile(part, device), device);
      case 'subgroup_rows':
        return matmulSubgroupRows(part, device);
      case 'subgroup_strided':
        return matmulSubgroupStrided(part, device);
      default:
        return matmulGeneral(part, device);
    }
  });
};
