/** The table of bench/gpu. */
import { MODEL_NAMES } from './work.ts';
import type { GpuReport, ModelRow, Timing, TorchReport, TorchRow } from './work.ts';

const GOALS = { matmul: 0.7, model: 1 };
/** Of the quotients that a try on tiny sizes gives, none means anything. */
const NO_GOALS = { matmul: 0, model: 0 };

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

export function table(report: GpuReport): string {
  const { torch, adapter, matmul, models, notMeasured } = report;
  const goals = report.small ? NO_GOALS : GOALS;
  const lines = [
    `${report.date}, ${adapter}, Node ${report.node}; ${torch ? `PyTorch ${torch.torch} on ${torch.device}` : 'no PyTorch'}`,
    '',
    head(['f32 matmul', 'ms', 'TFLOP/s', 'cuBLAS f32 ms', 'ours / cuBLAS', 'error']),
    ...Object.entries(matmul).map(([n, found]) => {
      if ('failure' in found) return row([n, found.failure, '', '', '', '']);
      const theirs = torch?.matmul[n]?.f32;
      const rate = (2 * Number(n) ** 3) / found.ms / 1e9;
      const quotient = ratio(1 / found.ms, theirs && 1 / theirs, goals.matmul);
      return row([
        n,
        found.ms.toFixed(3),
        rate.toFixed(2),
        theirs?.toFixed(3) ?? '-',
        quotient,
        found.error.toExponential(1),
      ]);
    }),
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
  }
  lines.push('', 'Longest kernels of the training step, ms:');
  for (const name of MODEL_NAMES) {
    const kernels = Object.entries(models[name]?.[0]?.kernels ?? {});
    lines.push(`  ${name}: ${kernels.map(([kernel, ms]) => `${kernel} ${ms}`).join(', ') || 'not measured'}`);
  }
  lines.push('', 'Not measured:', ...notMeasured.map((line) => `  ${line}`));
  return lines.join('\n');
}

function modelLines(name: string, found: ModelRow, torch: TorchReport | null, goal: number): string[] {
  const theirs = torch?.models[name]?.find(({ batch }) => batch === found.batch);
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
      ratio(timing.imagesPerSecond, f32?.imagesPerSecond, goal),
      amp?.imagesPerSecond.toFixed(0) ?? '-',
      amp ? (timing.imagesPerSecond / amp.imagesPerSecond).toFixed(2) : '-',
      gap(timing),
      f32 ? gap(f32) : '-',
      difference(found, theirs),
    ]);
  });
}
