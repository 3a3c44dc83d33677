/** Losses of logits in float64, and what tests of losses need beside them. */

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
