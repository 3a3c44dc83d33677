import { require } from '../lib/kernel.ts';
import type { RowShape } from '../lib/row-plan.ts';

/** Logits [rows, width] of a batch. */
export interface Logits {
  readonly rows: number;
  readonly width: number;
}

export const shapeOf = ({ rows, width }: Logits): RowShape => ({ outer: rows, width, inner: 1 });

/** Bytes of the logits. */
export const bytesOf = ({ rows, width }: Logits): number => 4 * rows * width;

export const requireRows = ({ rows, width }: Logits, kernel: string): void =>
  require(rows > 0 && width > 0, kernel, 'sizes of at least 1', [rows, width]);

export const requireSmoothing = (smoothing: number, kernel: string): void =>
  require(smoothing >= 0 && smoothing <= 1, kernel, '0 <= smoothing <= 1', smoothing);
