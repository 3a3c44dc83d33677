/** What tests of operators over rows share. */
import { expect } from 'vitest';
import type { Tensor } from '../../engine/node.ts';
import { rowShape } from '../../kernels/lib/rows.ts';
import type { RowShape } from '../../kernels/lib/row-plan.ts';
import type { RowCase } from '../cases/rows.ts';
import { expectClose } from './close.ts';

/** The rows of a case. */
export const shapeOf = ({ shape, dim }: RowCase): RowShape => rowShape(shape, dim < 0 ? dim + shape.length : dim);

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
