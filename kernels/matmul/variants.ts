import type { DeviceProfile } from '../device.ts';
import { require } from '../kernel.ts';
import type { Launch } from '../kernel.ts';
import { matmulGeneral } from './general.ts';
import { matmulCost } from './problem.ts';
import type { MatmulProblem, Variant } from './problem.ts';
import {
  fitsSubgroup,
  fitsSubgroupTile,
  hasSubgroups,
  matmulSubgroup,
  otherSubgroupTiles,
  subgroupTile,
} from './subgroup.ts';
import { fitsSubgroupRows, matmulSubgroupRows } from './subgroup-rows.ts';
import { matmulSubgroupMatrix, matrixTile } from './subgroup-matrix.ts';
import { matmulSubgroupStrided } from './subgroup-strided.ts';
import { fitsWorkgroup, LARGE_TILE, matmulWorkgroup, SMALL_TILE, workgroupTile } from './workgroup.ts';

/** Work below which the variant that compiles fastest is not much slower than any other. */
export const SMALL = 3e5;
/** Rows from which on lanes that own rows are kept busy. */
export const MANY_ROWS = 32;

interface Implementation {
  /** Whether it takes the problem (one of those that `planMatmul` makes) on the device. */
  fits(problem: MatmulProblem, device: DeviceProfile): boolean;
  launches(problem: MatmulProblem, device: DeviceProfile): Launch[];
}

function implementationOf(variant: Variant): Implementation {
  const [name, cut = ''] = variant.split(':');
  switch (name) {
    case 'subgroup': {
      if (cut === '') {
        return {
          fits: fitsSubgroupTile,
          launches: (problem, device) => matmulSubgroup(problem, subgroupTile(problem, device), device),
        };
      }
      const [rows, vectors, unroll] = cut.split('x').map(Number);
      const tile = { rows, vectors, unroll };
      return {
        fits: (problem, device) => fitsSubgroupTile(problem, device, tile),
        launches: (problem, device) => matmulSubgroup(problem, tile, device),
      };
    }
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
    case 'subgroup_strided':
      return { fits: (_problem, device) => hasSubgroups(device), launches: matmulSubgroupStrided };
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
  if (!hasSubgroups(device) || matmulCost(problem).flops < SMALL) return 'general';
  if (!problem.a.transposed && problem.b.transposed && !problem.rowSums && problem.m >= MANY_ROWS)
    return 'subgroup_rows';
  return fitsSubgroup(problem) ? 'subgroup' : 'subgroup_strided';
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
  const tiles = otherSubgroupTiles(problem, device).map(
    ({ rows, vectors, unroll }): Variant => `subgroup:${rows}x${vectors}x${unroll}`,
  );
  const shared: Variant[] = ['subgroup_matrix', 'workgroup', 'workgroup_large'];
  const lanes: Variant[] = ['subgroup_rows', 'subgroup', ...tiles.slice(0, 2), 'subgroup_rows:8', 'subgroup_rows:4'];
  const rest: Variant[] = ['subgroup_strided', 'general', ...tiles.slice(2), 'subgroup_rows:6', 'subgroup_rows:2'];
  const variants = device.cpu ? [...lanes, ...rest, ...shared] : [...shared, ...lanes, ...rest];
  return variants.filter((variant) => implementationOf(variant).fits(problem, device));
}
