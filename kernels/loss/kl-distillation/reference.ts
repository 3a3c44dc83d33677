import { eachRow, logSoftmaxOfRow } from '../../lib/reference-math.ts';
import type { KlBackwardProblem } from './problem.ts';

/** Soft distillation in float64, and the gradient of the student's logits. */
export function klReference(
  { rows, width, tau, divisor }: KlBackwardProblem,
  student: ArrayLike<number>,
  teacher: ArrayLike<number>,
) {
  let loss = 0;
  const dstudent = new Float64Array(rows * width);
  eachRow({ outer: rows, width, inner: 1 }, (row) => {
    const logP = logSoftmaxOfRow(
      row.map((i) => student[i]),
      tau,
    );
    const logQ = logSoftmaxOfRow(
      row.map((i) => teacher[i]),
      tau,
    );
    row.forEach((i, c) => {
      const q = Math.exp(logQ[c]);
      loss += (tau * tau * q * (logQ[c] - logP[c])) / divisor;
      dstudent[i] = (tau / divisor) * (Math.exp(logP[c]) - q);
    });
  });
  return { loss, dstudent };
}
