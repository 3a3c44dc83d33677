import { eachRow, logSoftmaxOfRow, sum } from '../../lib/reference-math.ts';
import type { SoftTargetProblem } from './problem.ts';

/** Mean over rows of -sum(t log softmax(z)) in float64, and its gradient. A class whose target is 0 adds nothing. */
export function softTargetReference(
  { rows, width }: SoftTargetProblem,
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
) {
  let loss = 0;
  const dlogits = new Float64Array(rows * width);
  eachRow({ outer: rows, width, inner: 1 }, (row) => {
    const logs = logSoftmaxOfRow(row.map((i) => logits[i]));
    const total = sum(row.map((i) => targets[i]));
    row.forEach((i, c) => {
      if (targets[i] !== 0) loss -= (targets[i] * logs[c]) / rows;
      dlogits[i] = (Math.exp(logs[c]) * total - targets[i]) / rows;
    });
  });
  return { loss, dlogits };
}
