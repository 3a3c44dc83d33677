import { DeitError } from '../../engine/index.ts';

/**
 * How position embeddings are brought to another grid.
 * `bicubic`: facebookresearch/deit and transformers; Keys' kernel with a = -0.75, indices clamped at the border.
 * `timm`: timm's resample_abs_pos_embed; a = -0.5, antialiased as Pillow does it, taps outside dropped and the rest
 * renormalised. The two differ even when enlarging.
 */
export type PositionRule = 'bicubic' | 'timm';

export type GridSize = readonly [rows: number, columns: number];

export interface PositionResize {
  /** Leading entries that stay as they are: 1, or 2 with a distillation token. */
  readonly prefix: number;
  readonly from: GridSize;
  readonly to: GridSize;
  /** Numbers of one entry. */
  readonly width: number;
  readonly rule: PositionRule;
}

/** For one output position: the first source index, and the weights of the indices from there on (clamped by the user). */
interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

function keys(x: number, a: number): number {
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/** The taps of output position `target` when `from` positions become `to`. */
export function positionTaps(target: number, from: number, to: number, rule: PositionRule): Taps {
  const scale = from / to;
  if (rule === 'bicubic') {
    const source = (target + 0.5) * scale - 0.5;
    const first = Math.floor(source) - 1;
    return { first, weights: [0, 1, 2, 3].map((tap) => keys(source - first - tap, -0.75)) };
  }
  const filterScale = Math.max(scale, 1);
  const center = (target + 0.5) * scale;
  const first = Math.max(0, Math.trunc(center - 2 * filterScale + 0.5));
  const end = Math.min(from, Math.trunc(center + 2 * filterScale + 0.5));
  const raw = Array.from({ length: end - first }, (_, tap) => keys((first + tap - center + 0.5) / filterScale, -0.5));
  const sum = raw.reduce((total, weight) => total + weight, 0);
  return { first, weights: raw.map((weight) => weight / sum) };
}

/** Resizes a table [prefix + rows * columns, width] in float64. */
export function resizePositionEmbedding(table: ArrayLike<number>, resize: PositionResize): Float32Array<ArrayBuffer> {
  const { prefix, from, to, width, rule } = resize;
  if (table.length !== (prefix + from[0] * from[1]) * width) {
    throw new DeitError('shape-mismatch', 'The position embedding does not have the size it is said to have.', {
      expected: `${prefix} + ${from[0]} x ${from[1]} entries of ${width} numbers`,
      found: `${table.length} numbers`,
    });
  }
  const start = prefix * width;
  const [rows, columns] = from;
  // Columns first, then rows: the kernel is separable.
  const narrow = new Float64Array(rows * to[1] * width);
  for (let x = 0; x < to[1]; x++) {
    const { first, weights } = positionTaps(x, columns, to[1], rule);
    weights.forEach((weight, tap) => {
      const column = Math.min(Math.max(first + tap, 0), columns - 1);
      for (let y = 0; y < rows; y++) {
        const source = start + (y * columns + column) * width;
        const target = (y * to[1] + x) * width;
        for (let c = 0; c < width; c++) narrow[target + c] += weight * table[source + c];
      }
    });
  }
  const grid = new Float64Array(to[0] * to[1] * width);
  const row = to[1] * width;
  for (let y = 0; y < to[0]; y++) {
    const { first, weights } = positionTaps(y, rows, to[0], rule);
    weights.forEach((weight, tap) => {
      const source = Math.min(Math.max(first + tap, 0), rows - 1) * row;
      for (let i = 0; i < row; i++) grid[y * row + i] += weight * narrow[source + i];
    });
  }
  const resized = new Float32Array(start + grid.length);
  for (let i = 0; i < start; i++) resized[i] = table[i];
  resized.set(grid, start);
  return resized;
}
