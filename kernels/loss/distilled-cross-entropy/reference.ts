import { argmaxReference } from '../../argmax/reference.ts';
import { crossEntropyReference } from '../cross-entropy/reference.ts';
import { softTargetReference } from '../soft-target-cross-entropy/reference.ts';
import type { DistilledBackwardProblem } from './problem.ts';

type Numbers = ArrayLike<number>;

/** Hard distillation in float64, and the gradients of both heads. `target` is labels, or a distribution. */
export function distilledReference(
  { rows, width, target: kind, smoothing, alpha }: DistilledBackwardProblem,
  { cls, dist, target, teacher }: { cls: Numbers; dist: Numbers; target: Numbers; teacher: Numbers },
) {
  const own =
    kind === 'labels'
      ? crossEntropyReference({ rows, width, smoothing }, cls, Array.from(target))
      : softTargetReference({ rows, width }, cls, target);
  const decisions = argmaxReference({ outer: rows, reduce: width, inner: 1 }, teacher);
  const taught = crossEntropyReference({ rows, width, smoothing: 0 }, dist, decisions);
  return {
    label: own.loss,
    distillation: taught.loss,
    total: (1 - alpha) * own.loss + alpha * taught.loss,
    dcls: own.dlogits.map((d) => (1 - alpha) * d),
    ddist: taught.dlogits.map((d) => alpha * d),
  };
}
