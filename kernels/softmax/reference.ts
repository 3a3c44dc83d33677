import { eachRow, logSoftmaxOfRow, sum } from '../lib/reference-math.ts';
import type { SoftmaxProblem } from './problem.ts';

/** Softmax or its logarithm in float64, and the gradient of x for the gradient dy of the result. */
export function softmaxReference(problem: SoftmaxProblem, x: ArrayLike<number>, dy: ArrayLike<number>) {
  const y = new Float64Array(x.length);
  const dx = new Float64Array(x.length);
  eachRow(problem, (row) => {
    const logs = logSoftmaxOfRow(row.map((i) => x[i]));
    const p = logs.map(Math.exp);
    const total = sum(row.map((i, c) => (problem.log ? dy[i] : dy[i] * p[c])));
    row.forEach((i, c) => {
      y[i] = problem.log ? logs[c] : p[c];
      dx[i] = problem.log ? dy[i] - p[c] * total : p[c] * (dy[i] - total);
    });
  });
  return { y, dx };
}
