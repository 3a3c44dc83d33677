/** The table of bench/gpu. */
import { MODEL_NAMES } from './work.ts';
import type { Correctness, GpuReport, ModelRow, Timing, TorchReport, TorchRow } from './work.ts';

const GOALS = { matmul: 0.7, matmulF16: 0.3, model: 1, modelF16: 1 };
/** Of the quotients that a try on tiny sizes gives, none means anything. */
const NO_GOALS: typeof GOALS = { matmul: 0, matmulF16: 0, model: 0, modelF16: 0 };

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const head = (cells: readonly string[]): string => `${row(cells)}\n${row(cells.map(() => '---'))}`;
const ratio = (ours: number, theirs: number | undefined, goal: number): string => {
  if (theirs === undefined) return '-';
  const quotient = ours / theirs;
  return quotient.toFixed(2) + (goal > 0 ? ` (goal ${goal}: ${quotient >= goal ? 'reached' : 'short'})` : '');
};
const gap = ({ ms, kernelMs }: Timing): string =>
  kernelMs === null ? '-' : `${(100 * Math.max(0, 1 - kernelMs / ms)).toFixed(1)} %`;

/** Largest relative difference of the first logits and losses from PyTorch's. */
function difference(ours: ModelRow, theirs: TorchRow | undefined): string {
  if (!theirs?.logits || !theirs.losses || !ours.logits || !ours.losses) return '-';
  const largest = (a: readonly number[], b: readonly number[]): number => {
    const size = Math.max(...b.map(Math.abs));
    return Math.max(...a.map((value, i) => Math.abs(value - b[i]) / size));
  };
  return Math.max(largest(ours.logits.flat(), theirs.logits.flat()), largest(ours.losses, theirs.losses)).toExponential(
    1,
  );
}

/** A line for each part of the comparison with float64, and one for each result that is wrong. */
function correctnessLines({ operators, training, teachers }: Correctness): string[] {
  const comparisons = (what: string, found: Correctness['training']): string[] => {
    if ('failure' in found) return [`${what}: ${found.failure}`];
    const wrong = found.filter(({ error, allowed }) => !(error <= allowed));
    const worst = Math.max(...found.map(({ error, allowed }) => error / allowed));
    return [
      `${what}: ${wrong.length} of ${found.length} beyond the tolerance, the worst at ${worst.toPrecision(2)} of it`,
      ...wrong.map((one) => `  ${one.what}: ${one.error.toExponential(1)}, allowed ${one.allowed.toExponential(1)}`),
    ];
  };
  const ofOperators =
    'failure' in operators
      ? [`Operators: ${operators.failure}`]
      : [
          `${operators.operators} operators forward and backward: ${operators.wrong.length} of ${operators.results} results beyond the tolerance`,
          ...operators.wrong.map((line) => `  ${line}`),
        ];
  return [
    ...ofOperators,
    ...comparisons('Losses of a distilled run', training),
    ...comparisons('Logits of teachers', teachers),
  ];
}

export function table(report: GpuReport): string {
  const { torch, adapter, models, modelsF16, notMeasured } = report;
  const goals = report.small ? NO_GOALS : GOALS;
  const lines = [
    `${report.date}, ${adapter}, Node ${report.node}; ${torch ? `PyTorch ${torch.torch} on ${torch.device}` : 'no PyTorch'}`,
    '',
    ...(report.correctness ? correctnessLines(report.correctness) : []),
    ...Object.entries(report.tuning).map(([model, found]) => `Tuner, ${model}: ${found}`),
    '',
    ...matmulLines('f32', report, goals.matmul),
    '',
    ...matmulLines('f16', report, goals.matmulF16),
    '',
    head([
      'images/s',
      'batch',
      'ours',
      'PyTorch f32',
      'ours / f32',
      'PyTorch AMP',
      'ours / AMP',
      'outside kernels',
      'PyTorch’s',
      'difference',
    ]),
  ];
  for (const name of MODEL_NAMES) {
    for (const found of models[name] ?? []) lines.push(...modelLines(name, found, torch, goals.model));
    for (const found of modelsF16[name] ?? []) lines.push(...modelLines(name, found, torch, goals.modelF16, true));
  }
  lines.push('', 'Longest kernels of the training step, ms:');
  for (const name of MODEL_NAMES.flatMap((own) => [own, `${own} f16`])) {
    const row0 = name.endsWith(' f16') ? modelsF16[name.slice(0, -4)] : models[name];
    const kernels = Object.entries(row0?.[0]?.kernels ?? {});
    lines.push(`  ${name}: ${kernels.map(([kernel, ms]) => `${kernel} ${ms}`).join(', ') || 'not measured'}`);
  }
  lines.push('', 'Not measured:', ...notMeasured.map((line) => `  ${line}`));
  return lines.join('\n');
}

function matmulLines(type: 'f32' | 'f16', { torch, matmul, matmulF16 }: GpuReport, goal: number): string[] {
  return [
    head([`${type} matmul`, 'ms', 'TFLOP/s', `cuBLAS ${type} ms`, 'ours / cuBLAS', 'error', 'kernel']),
    ...Object.entries(type === 'f32' ? matmul : matmulF16).map(([n, found]) => {
      if ('failure' in found) return row([n, found.failure, '', '', '', '', '']);
      const theirs = torch?.matmul[n]?.[type];
      const rate = (2 * Number(n) ** 3) / found.ms / 1e9;
      const quotient = ratio(1 / found.ms, theirs && 1 / theirs, goal);
      const [ms, error] = [found.ms.toFixed(3), found.error.toExponential(1)];
      return row([n, ms, rate.toFixed(2), theirs?.toFixed(3) ?? '-', quotient, error, found.kernel]);
    }),
  ];
}

/** `isF16`: the goal is for the quotient with AMP, else for that with f32. */
function modelLines(model: string, found: ModelRow, torch: TorchReport | null, goal: number, isF16 = false): string[] {
  const name = isF16 ? `${model} f16` : model;
  const theirs = torch?.models[model]?.find(({ batch }) => batch === found.batch);
  const batch = String(found.batch);
  if (found.failure) return [row([name, batch, found.failure, '', '', '', '', '', '', ''])];
  return (['forward', 'training'] as const).flatMap((mode) => {
    const timing = found[mode];
    if (!timing) return [];
    const [f32, amp] = [theirs?.[`${mode}_f32`], theirs?.[`${mode}_amp`]];
    return row([
      `${name} ${mode}`,
      batch,
      timing.imagesPerSecond.toFixed(0),
      f32?.imagesPerSecond.toFixed(0) ?? '-',
      ratio(timing.imagesPerSecond, f32?.imagesPerSecond, isF16 ? 0 : goal),
      amp?.imagesPerSecond.toFixed(0) ?? '-',
      ratio(timing.imagesPerSecond, amp?.imagesPerSecond, isF16 ? goal : 0),
      gap(timing),
      f32 ? gap(f32) : '-',
      difference(found, theirs),
    ]);
  });
}
