import type { DeviceProfile } from '../lib/device.ts';
import { require } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { matmulGeneral } from './general.ts';
import { matmulCost } from './problem.ts';
import type { MatmulProblem, Variant } from './problem.ts';
import { fitsSubgroupRows, matmulSubgroupRows } from './subgroup-rows.ts';
import { matmulSubgroupMatrix, matrixTile } from './subgroup-matrix.ts';
import { fitsWorkgroup, LARGE_TILE, matmulWorkgroup, SMALL_TILE, workgroupTile } from './workgroup.ts';

/** Work below which the variant that compiles fastest is not much slower than any other. */
export const SMALL = 3e5;

interface Implementation {
  /** Whether it takes the problem (one of those that `planMatmul` makes) on the device. */
  fits(problem: MatmulProblem, device: DeviceProfile): boolean;
  launches(problem: MatmulProblem, device: DeviceProfile): Launch[];
}

function implementationOf(variant: Variant): Implementation {
  const [name, cut = ''] = variant.split(':');
  switch (name) {
    case 'subgroup_rows': {
      const rows = cut === '' ? undefined : Number(cut);
      return {
        fits: (problem, device) => fitsSubgroupRows(problem, device, rows),
        launches: (problem, device) => matmulSubgroupRows(problem, device, rows),
      };
    }
    case 'subgroup_matrix':
      return {
        fits: (problem, device) => matrixTile(problem, device) !== null,
        launches: matmulSubgroupMatrix,
      };
    case 'workgroup':
    case 'workgroup_large': {
      const tile = name === 'workgroup' ? SMALL_TILE : LARGE_TILE;
      return {
        fits: (problem, device) => fitsWorkgroup(problem, device, tile),
        launches: (problem, device) => matmulWorkgroup(problem, tile, device),
      };
    }
    default:
      return { fits: () => true, launches: matmulGeneral };
  }
}

/** The variant for a problem on a device, if nobody asks for another. */
export function variantFor(problem: MatmulProblem, device: DeviceProfile): Variant {
  if (matrixTile(problem, device)) return 'subgroup_matrix';
  if (!device.cpu) return workgroupTile(problem, device) === SMALL_TILE ? 'workgroup' : 'workgroup_large';
  return matmulCost(problem).flops >= SMALL && fitsSubgroupRows(problem, device) ? 'subgroup_rows' : 'general';
}

/** The launches of one variant: the problem's own, which must fit, or the usual one. */
export function launchesOf(problem: MatmulProblem, device: DeviceProfile): Launch[] {
  const { variant } = problem;
  const implementation = implementationOf(variant ?? variantFor(problem, device));
  const fits = variant === undefined || implementation.fits(problem, device);
  require(fits, 'matmul', 'a problem that the variant takes on this device', problem);
  return implementation.launches(problem, device);
}

/** Every variant that takes a problem (one that needs no cutting) on a device, likelier winners first. */
export function matmulVariants(problem: MatmulProblem, device: DeviceProfile): Variant[] {
  const shared: Variant[] = ['subgroup_matrix', 'workgroup', 'workgroup_large'];
  const lanes: Variant[] = ['subgroup_rows', 'general', 'subgroup_rows:8', 'subgroup_rows:4'];
  const rest: Variant[] = ['subgroup_rows:6', 'subgroup_rows:2'];
  const variants = device.cpu ? [...lanes, ...rest, ...shared] : [...shared, ...lanes, ...rest];
  return variants.filter((variant) => implementationOf(variant).fits(problem, device));
}
