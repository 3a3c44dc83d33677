/** What tests of losses share. */
import { expect } from 'vitest';
import type { Tensor } from '../../engine/node.ts';

export const labelsOf = (rows: number, width: number): number[] =>
  Array.from({ length: rows }, (_, r) => (r * 7 + 3) % width);

// f32 exponentials within a few units in the last place of 6e-8, and sums of a thousand of them.
const TOLERANCE = 1e-6;

/** Loss and gradient for an upstream gradient of 0.5, against the reference; what is nearly zero absolutely. */
export async function expectLoss(
  loss: Tensor,
  logits: Tensor,
  expected: { loss: number; gradient: Float64Array },
  what: string,
  terms = 1,
): Promise<void> {
  loss.backward(loss.engine.full([], 0.5));
  expect(loss.shape).toEqual([]);
  expect(Math.abs((await loss.item()) - expected.loss), what).toBeLessThan(
    TOLERANCE * Math.max(terms, Math.abs(expected.loss)),
  );
  const gradient = await logits.grad!.read();
  const norm = Math.hypot(...expected.gradient);
  const difference = Math.hypot(...expected.gradient.map((d, i) => 0.5 * d - gradient[i]));
  expect(difference, `${what}, gradient`).toBeLessThan(TOLERANCE * Math.max(norm, 0.1));
}
