/** What tests of operators over rows share. */
import { expect } from 'vitest';
import type { Tensor } from '../../engine/node.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose } from './close.ts';

/** Calls `each` with the indices of every row of the case. */
export function forRows({ shape, dim }: RowCase, each: (row: number[]) => void): void {
  const axis = dim < 0 ? dim + shape.length : dim;
  const width = shape[axis];
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < inner; j++) each(Array.from({ length: width }, (_, c) => (o * width + c) * inner + j));
  }
}

export const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

/** Absolute where the expectation is about zero: a rounding of the terms that cancelled. */
export async function expectCloseRows(
  found: Tensor,
  expected: Float64Array,
  tolerance: number,
  what: string,
  terms = 1,
): Promise<void> {
  const values = await found.read();
  const norm = Math.hypot(...expected.subarray(0, 50_000));
  if (norm > 1e-4 * terms * Math.sqrt(expected.length)) expectClose(values, expected, tolerance, what);
  else values.forEach((value, i) => expect(Math.abs(value - expected[i]), what).toBeLessThan(tolerance * terms));
}
