import type { DeviceProfile } from '../lib/device.ts';
import { require } from '../lib/kernel.ts';
import { range } from '../lib/unroll.ts';

/** How a kernel of a convolution reads its images: see product.ts and weight-gradient.ts. Sizes decide which. */
export type Variant = 'plane' | 'rows' | 'pixel' | 'general';

/** What an invocation computes. */
export interface Tile {
  /** Channels that are written, each with sums of its own. */
  readonly rows: number;
  /** Vectors of pixels (product.ts), or source channels and taps (weight-gradient.ts). */
  readonly columns: number;
}

/** Variant and tile, for example `plane:16x2`. Kernels have it in their names. */
export type ConvWay = `${Variant}:${number}x${number}`;

export interface ConvPlan {
  readonly variant: Variant;
  readonly tile: Tile;
}

export const wayOf = ({ variant, tile }: ConvPlan): ConvWay => `${variant}:${tile.rows}x${tile.columns}`;

/** Least rows of a tile, up to 8, that hold `rows`. */
const leastRows = (rows: number): number => [1, 2, 4].find((size) => size >= rows) ?? 8;
const MOST_ROWS = 16;

/**
 * The usual tile of a kernel that writes an image. Software adapters pay for loads and loops, not for registers: large
 * tiles are twice as fast there, but slow to compile, hence only where most of the work is.
 */
export function imageTile(variant: Variant, rows: number, device: DeviceProfile): Tile {
  if (device.cpu && variant === 'plane' && rows > 8) return { rows: 16, columns: 2 };
  return { rows: leastRows(rows), columns: 1 };
}

/** Most vectors of pixels in such a tile. */
export const mostVectors = (variant: Variant): number => (variant === 'plane' ? 2 : 1);

/** The usual tile of the weight gradient, from `columns` source channels and taps. */
export function weightTile(variant: Variant, rows: number, columns: number, device: DeviceProfile): Tile {
  const least = leastRows(rows);
  if (!device.cpu) return { rows: least, columns: 1 };
  if (variant === 'plane') return { rows: rows > 8 ? 16 : least, columns: 2 };
  return { rows: least, columns: variant === 'general' && columns >= 24 ? 3 : 1 };
}

/** Most columns in such a tile. */
export const mostColumns = (variant: Variant): number => ({ plane: 2, rows: 1, pixel: 1, general: 3 })[variant];

/** The plan that `way` asks for, or the usual one. `most` gives the most columns of a variant's tile. */
export function planned(
  way: ConvWay | undefined,
  usual: ConvPlan,
  most: (variant: Variant) => number,
  kernel: string,
): ConvPlan {
  if (way === undefined) return usual;
  const [variant, sizes] = way.split(':') as [Variant, string];
  const [rows, columns] = sizes.split('x').map(Number);
  // Whatever the sizes, `general` takes them.
  const takes = variant === usual.variant || variant === 'general';
  const fits = takes && rows <= MOST_ROWS && columns <= most(variant);
  require(fits, kernel, 'a way that fits the problem', way);
  return { variant, tile: { rows, columns } };
}

/**
 * Every way of a kernel that is worth measuring, the usual one first, for groups of `rows` channels that are written: other
 * tiles, and `general` where the sizes allow more.
 */
export function convWays(usual: ConvPlan, rows: number, most: (variant: Variant) => number): ConvWay[] {
  const { variant } = usual;
  const heights = rows === 1 ? [1] : [8, MOST_ROWS, 4, 2].filter((height) => height < 2 * rows);
  const tiles = heights.flatMap((height) => range(most(variant)).map((i): Tile => ({ rows: height, columns: i + 1 })));
  const general: ConvPlan = { variant: 'general', tile: { rows: leastRows(rows), columns: 1 } };
  return [...new Set([usual, ...tiles.map((tile) => ({ variant, tile })), general].map(wayOf))];
}
