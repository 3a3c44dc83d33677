/** The curves of a run, and of several side by side. */
import type { Role } from '../train/setup.ts';
import { FEW, align, noisy, thin } from './charts.ts';
import type { Chart } from './charts.ts';
import { evaluationsOf, stepsOf } from './run.ts';
import type { Run, StepLine } from './run.ts';

type Value = (line: StepLine) => number | null;
interface Curve {
  readonly label: string;
  readonly value: Value;
}

const LOSSES: readonly Curve[] = [
  { label: 'total', value: (line) => line.loss },
  { label: 'class head (labels)', value: (line) => (line.lossDistillation === null ? null : line.lossLabel) },
  { label: 'distillation head (teacher)', value: (line) => line.lossDistillation },
];

/** All curves of one role of a run. */
export function chartsOf(run: Run, role: Role): Chart[] {
  const lines = stepsOf(run, role);
  if (lines.length === 0) return [];
  const chart = (title: string, curves: readonly Curve[], rest: Partial<Chart> = {}): Chart => {
    const [x, ...values] = thin([lines.map((line) => line.step), ...curves.map(({ value }) => lines.map(value))]);
    const drawn = curves.map(({ label }, color) => ({ label, color, x: x as number[], y: values[color] }));
    return { title, xLabel: 'step', ...smoothed(drawn), ...rest };
  };
  const plain = (title: string, { label, value }: Curve, rest: Partial<Chart> = {}): Chart => {
    const [x, values] = thin([lines.map((line) => line.step), lines.map(value)]);
    return { title, xLabel: 'step', x: x as number[], series: [{ label, values }], ...rest };
  };
  return [
    chart('Training loss', LOSSES),
    accuracyChart(run, role, lines),
    heldOutLoss(run, role),
    plain('Learning rate', { label: 'learning rate', value: (line) => line.lr }),
    chart('Gradient norm, before clipping', [{ label: 'gradient norm', value: (line) => line.gradNorm }]),
    plain(
      'Throughput',
      { label: 'images/s', value: afterFirst(lines) },
      { note: 'mean since the first step; the first compiles the kernels and is left out' },
    ),
  ];
}

const SMOOTHED = 'faint: every step; lines: their moving average';

/** Curves on one axis, with a note where some are smoothed. */
function smoothed(curves: readonly Parameters<typeof align>[0][number][]): Pick<Chart, 'x' | 'series' | 'note'> {
  const aligned = align(curves.flatMap(noisy));
  return aligned.series.some(({ faint }) => faint) ? { ...aligned, note: SMOOTHED } : aligned;
}

/** Throughput of every step but the first, which compiles the kernels. */
const afterFirst =
  (lines: readonly StepLine[]): Value =>
  (line) =>
    line === lines[0] ? null : line.imagesPerSecond;

function accuracyChart(run: Run, role: Role, lines: readonly StepLine[]): Chart {
  const evaluations = evaluationsOf(run, role);
  const [x, own, imitating] = thin([
    lines.map((line) => line.step),
    lines.map((line) => line.accuracy),
    lines.map((line) => line.accuracyDistillation),
  ]) as [number[], number[], (number | null)[]];
  const accuracyOf = (label: string, color: number, value: (line: (typeof evaluations)[number]) => number | null) => ({
    label,
    color,
    points: true,
    x: evaluations.map(({ step }) => step),
    y: evaluations.map(value),
  });
  const distilled = imitating.some((value) => value !== null);
  return {
    title: 'Accuracy',
    xLabel: 'step',
    percent: true,
    note: `dashed: on the augmented training images${lines.length < FEW ? '' : ', smoothed over the faint values of the steps'}; with marks: held out`,
    ...align([
      ...noisy({ label: distilled ? 'class head, training' : 'training', x, y: own, dash: true, color: 4 }),
      ...noisy({ label: 'distillation head, training', x, y: imitating, dash: true, color: 5 }),
      accuracyOf(distilled ? 'class head, held out' : 'held out', 0, ({ accuracy }) => accuracy.class),
      accuracyOf('distillation head, held out', 1, ({ accuracy }) => accuracy.distillation),
      accuracyOf('average of both, held out', 2, ({ accuracy }) => (distilled ? accuracy.average : null)),
      accuracyOf('moving average of the weights, held out', 3, ({ ema }) => ema?.average ?? null),
    ]),
  };
}

function heldOutLoss(run: Run, role: Role): Chart {
  const evaluations = evaluationsOf(run, role);
  return {
    title: 'Held-out loss',
    xLabel: 'step',
    x: evaluations.map(({ step }) => step),
    series: [
      { label: 'cross-entropy', points: true, values: evaluations.map(({ accuracy }) => accuracy.loss ?? null) },
      {
        label: 'moving average of the weights',
        points: true,
        color: 3,
        values: evaluations.map(({ ema }) => ema?.loss ?? null),
      },
    ],
  };
}

/** The students of several runs, one curve a run. */
export function comparisonCharts(runs: readonly Run[]): Chart[] {
  const overSteps = (valueOf: (lines: readonly StepLine[]) => Value) =>
    runs.map((run, color) => {
      const lines = stepsOf(run, 'student');
      const [x, y] = thin([lines.map(({ step }) => step), lines.map(valueOf(lines))], 500);
      return { label: run.label, color, x: x as number[], y };
    });
  const chart = (title: string, value: Value, rest: Partial<Chart> = {}): Chart => ({
    ...{ title, xLabel: 'step' },
    ...smoothed(overSteps(() => value)),
    ...rest,
  });
  const plain = (title: string, valueOf: (lines: readonly StepLine[]) => Value): Chart => ({
    ...{ title, xLabel: 'step' },
    ...align(overSteps(valueOf)),
  });
  const isDistilled = runs.some((run) => evaluationsOf(run, 'student').some(({ accuracy }) => accuracy.distillation !== null)); // prettier-ignore
  return [
    {
      title: isDistilled ? 'Held-out accuracy, average of both heads' : 'Held-out accuracy',
      xLabel: 'step',
      percent: true,
      ...align(
        runs.map((run, color) => {
          const lines = evaluationsOf(run, 'student');
          return {
            label: run.label,
            color,
            points: true,
            x: lines.map(({ step }) => step),
            y: lines.map(({ accuracy }) => accuracy.average),
          };
        }),
      ),
    },
    chart('Training loss', ({ loss }) => loss),
    chart('Training accuracy, class head', ({ accuracy }) => accuracy, { percent: true }),
    chart('Gradient norm, before clipping', ({ gradNorm }) => gradNorm),
    plain(
      'Learning rate',
      () =>
        ({ lr }) =>
          lr,
    ),
    plain('Throughput, images/s', afterFirst),
  ];
}
