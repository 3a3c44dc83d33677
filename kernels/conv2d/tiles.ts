import type { DeviceProfile } from '../lib/device.ts';
import type { Launch } from '../lib/kernel.ts';
import { range } from '../lib/unroll.ts';
import type { Variant } from '../lib/variant.ts';

/** How a kernel of a convolution reads its images: see image-product.ts and weight-gradient.ts. Sizes decide which. */
export type Access = 'plane' | 'rows' | 'pixel' | 'general';

/** What an invocation computes. */
export interface Tile {
  /** Channels that are written, each with sums of its own. */
  readonly rows: number;
  /** Vectors of pixels (image-product.ts), or source channels and taps (weight-gradient.ts). */
  readonly columns: number;
}

/** One of these is a variant, called for example `plane_16x2`. Kernels have it in their names. */
export interface Tiling {
  readonly access: Access;
  readonly tile: Tile;
}

export const tilingName = ({ access, tile }: Tiling): string => `${access}_${tile.rows}x${tile.columns}`;

/** Least rows of a tile, up to 8, that hold `rows`. */
const leastRows = (rows: number): number => [1, 2, 4].find((size) => size >= rows) ?? 8;
const HEIGHTS = [8, 16, 4, 2, 1];

/**
 * The usual tile of a kernel that writes an image. Software adapters pay for loads and loops, not for registers: large
 * tiles are twice as fast there, but slow to compile, hence only where most of the work is.
 */
export function imageTile(access: Access, rows: number, device: DeviceProfile): Tile {
  if (device.cpu && access === 'plane' && rows > 8) return { rows: 16, columns: 2 };
  return { rows: leastRows(rows), columns: 1 };
}

/** Most vectors of pixels in such a tile. */
export const MOST_VECTORS = { plane: 2, rows: 1, pixel: 1, general: 1 };

/** The usual tile of the weight gradient, from `columns` source channels and taps. */
export function weightTile(access: Access, rows: number, columns: number, device: DeviceProfile): Tile {
  const least = leastRows(rows);
  if (!device.cpu) return { rows: least, columns: 1 };
  if (access === 'plane') return { rows: rows > 8 ? 16 : least, columns: 2 };
  return { rows: least, columns: access === 'general' && columns >= 24 ? 3 : 1 };
}

/** Most columns in such a tile. */
export const MOST_COLUMNS = { plane: 2, rows: 1, pixel: 1, general: 3 };

/**
 * The variants of a kernel: every access that the sizes allow, in every tile. `rows` are the channels of a group that are
 * written, `most` the most columns of a tile. Worth measuring are the tiles of the usual access, and `general`, which takes
 * all sizes, in its least tile.
 */
export function tileVariants<Plan>(spec: {
  usual: (plan: Plan, device: DeviceProfile) => Tiling;
  rows: (plan: Plan) => number;
  most: Readonly<Record<Access, number>>;
  launches: (plan: Plan, tiling: Tiling, device: DeviceProfile) => Launch[];
}): Variant<Plan>[] {
  const { usual, rows: rowsOf, most, launches } = spec;
  const tilings = (['plane', 'rows', 'pixel', 'general'] as const).flatMap((access) =>
    HEIGHTS.flatMap((rows) => range(most[access]).map((i): Tiling => ({ access, tile: { rows, columns: i + 1 } }))),
  );
  return tilings.map((tiling) => {
    const name = tilingName(tiling);
    const { access, tile } = tiling;
    return {
      name,
      fits: (plan, device) => access === 'general' || access === usual(plan, device).access,
      use: (plan, device) => {
        const taken = usual(plan, device);
        if (name === tilingName(taken)) return 'default';
        const rows = rowsOf(plan);
        if (access !== taken.access) return tile.rows === leastRows(rows) && tile.columns === 1 ? 'tuned' : 'named';
        return (rows === 1) === (tile.rows === 1) && tile.rows < 2 * rows ? 'tuned' : 'named';
      },
      launches: (plan, device) => launches(plan, tiling, device),
    };
  });
}
