/** Losses of logits in float64, and what tests of losses need beside them. */
import { expect } from 'vitest';
import type { Tensor } from '../../engine/node.ts';

export const rowsOf = (data: ArrayLike<number>, width: number): number[][] =>
  Array.from({ length: data.length / width }, (_, r) => Array.from({ length: width }, (_, c) => data[r * width + c]));
export const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
export const argmax = (row: number[]): number => row.indexOf(Math.max(...row));
export const labelsOf = (rows: number, width: number): number[] =>
  Array.from({ length: rows }, (_, r) => (r * 7 + 3) % width);

export function logSoftmax64(row: number[], tau = 1): number[] {
  const m = Math.max(...row);
  const log = Math.log(sum(row.map((z) => Math.exp((z - m) / tau))));
  return row.map((z) => (z - m) / tau - log);
}

/** Mean over rows of -sum(t log softmax(z)), and its gradient. */
export function crossEntropy64(z: number[][], t: number[][]): { loss: number; gradient: number[] } {
  const logs = z.map((row) => logSoftmax64(row));
  return {
    loss: sum(logs.map((row, r) => -sum(row.map((log, c) => (t[r][c] === 0 ? 0 : t[r][c] * log))))) / z.length,
    gradient: logs.flatMap((row, r) => row.map((log, c) => (Math.exp(log) * sum(t[r]) - t[r][c]) / z.length)),
  };
}

/** The target of a label, smoothed as PyTorch does it. */
export const smoothed = (label: number, width: number, eps: number): number[] =>
  Array.from({ length: width }, (_, c) => (c === label ? 1 - eps : 0) + eps / width);

// f32 exponentials within a few units in the last place of 6e-8, and sums of a thousand of them.
const TOLERANCE = 1e-6;

/** Loss and gradient for an upstream gradient of 0.5, against the reference; what is nearly zero absolutely. */
export async function expectLoss(
  loss: Tensor,
  logits: Tensor,
  expected: { loss: number; gradient: number[] },
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
  const difference = Math.hypot(...expected.gradient.map((g, i) => 0.5 * g - gradient[i]));
  expect(difference, `${what}, gradient`).toBeLessThan(TOLERANCE * Math.max(norm, 0.1));
}
