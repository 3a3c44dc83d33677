import type { DeviceProfile } from '../device.ts';
import type { Kernel } from '../kernel.ts';
import { planMatmul } from './batch.ts';
import { matmulGeneral } from './general.ts';
import { checkMatmul } from './problem.ts';
import type { MatmulProblem, Variant } from './problem.ts';
import { fitsSubgroup, hasSubgroups, matmulSubgroup, subgroupTile } from './subgroup.ts';
import { matmulSubgroupStrided } from './subgroup-strided.ts';

export type { BatchAxis, MatmulOperand, MatmulProblem, MatmulTarget, Variant } from './problem.ts';
export type { Epilogue } from './epilogue.ts';

/** The variant for a problem on a device, if nobody asks for another. */
function variantFor(problem: MatmulProblem, device: DeviceProfile): Variant {
  if (device.cpu && hasSubgroups(device)) return fitsSubgroup(problem) ? 'subgroup' : 'subgroup_strided';
  return 'general';
}

/** y = scale * a b + epilogue: see MatmulProblem. */
export const matmul: Kernel<MatmulProblem> = (problem, device) => {
  checkMatmul(problem);
  return planMatmul(problem).flatMap((part) => {
    switch (part.variant ?? variantFor(part, device)) {
      case 'subgroup':
        return matmulSubgroup(part, subgroupTile(part, device), device);
      case 'subgroup_strided':
        return matmulSubgroupStrided(part, device);
      default:
        return matmulGeneral(part, device);
    }
  });
};
