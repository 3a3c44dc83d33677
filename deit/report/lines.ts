/** Lines of `metrics.jsonl`, which anyone may have written, as what they should be. Browser-safe. */
import type { Accuracy } from '../train/tally.ts';
import type { Role } from '../train/setup.ts';
import type { EvaluationLine, StepLine } from './run.ts';

type Line = Readonly<Record<string, unknown>>;

const isLine = (value: unknown): value is Line => typeof value === 'object' && value !== null;
const isRole = (value: unknown): value is Role => value === 'teacher' || value === 'student';
/** JSON has no NaN and no infinity: null stands for them, and for what there is not. */
const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null);

/** A training step; null where the line is none. */
export function stepOf(line: Line): StepLine | null {
  const { role, step, accuracy, lossScale } = line;
  if (!isRole(role) || typeof step !== 'number' || typeof accuracy !== 'number') return null;
  const next = isLine(lossScale) ? numberOf(lossScale.next) : null;
  const scale = next === null ? null : { next, overflowed: (lossScale as Line).overflowed === true };
  // Written out: a run may have millions of lines, and objects made from entries are slow to make and to use.
  return {
    role,
    step,
    steps: numberOf(line.steps)!,
    epoch: numberOf(line.epoch)!,
    lr: numberOf(line.lr)!,
    loss: numberOf(line.loss)!,
    lossLabel: numberOf(line.lossLabel)!,
    lossDistillation: numberOf(line.lossDistillation),
    accuracy,
    accuracyDistillation: numberOf(line.accuracyDistillation),
    gradNorm: numberOf(line.gradNorm)!,
    nonFinite: numberOf(line.nonFinite)!,
    imagesPerSecond: numberOf(line.imagesPerSecond)!,
    secondsLeft: numberOf(line.secondsLeft)!,
    lossScale: scale,
  };
}

/** A measurement on the held-out images; null where the line is none. */
export function evaluationOf(line: Line): EvaluationLine | null {
  const { role, step } = line;
  const accuracy = accuracyOf(line.accuracy);
  if (!isRole(role) || typeof step !== 'number' || !accuracy) return null;
  return { role, step, accuracy, ema: accuracyOf(line.ema) };
}

export function accuracyOf(value: unknown): Accuracy | null {
  if (!isLine(value) || typeof value.class !== 'number' || typeof value.average !== 'number') return null;
  const names = ['class', 'distillation', 'average', 'top5', 'loss', 'images'] as const;
  return Object.fromEntries(names.map((name) => [name, numberOf(value[name])])) as unknown as Accuracy;
}
