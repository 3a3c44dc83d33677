/**
 * Held-out accuracy and training loss of runs, as one SVG.
 *
 *   npx tsx bench/finetune/curves.ts OUTPUT.svg LABEL=RUN_FOLDER_OR_JSONL ...
 *
 * A run folder is one of `deit train` or `deit finetune`; a JSONL file is what torch_finetune.py prints.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Curve {
  readonly label: string;
  /** Epochs done, and held-out accuracy then, in percent. */
  readonly accuracy: readonly (readonly [number, number])[];
  /** Epochs done, and the mean training loss of the last one. */
  readonly loss: readonly (readonly [number, number])[];
}

interface MetricsLine {
  role?: string;
  step?: number;
  epoch?: number;
  loss?: number;
  accuracy?: number | { average: number };
  trainLoss?: number;
}

const lines = (file: string): MetricsLine[] =>
  readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as MetricsLine); // prettier-ignore
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function readTorch(label: string, file: string): Curve {
  const rows = lines(file);
  return {
    label,
    accuracy: rows.map(({ epoch, accuracy }) => [epoch!, 100 * (accuracy as number)]),
    loss: rows.map(({ epoch, trainLoss }) => [epoch!, trainLoss!]),
  };
}

function readRun(label: string, folder: string): Curve {
  const rows = lines(join(folder, 'metrics.jsonl')).filter(({ role }) => role === 'student');
  const steps = rows.filter(({ loss }) => loss !== undefined);
  const perEpoch = steps.filter(({ epoch }) => epoch === 0).length;
  const epochs = [...new Set(steps.map(({ epoch }) => epoch!))];
  return {
    label,
    accuracy: rows.flatMap(({ accuracy, step }) =>
      typeof accuracy === 'object' ? [[step! / perEpoch, 100 * accuracy.average] as const] : [],
    ),
    loss: epochs.map((e) => [e + 1, mean(steps.filter(({ epoch }) => epoch === e).map(({ loss }) => loss!))]),
  };
}

const COLORS = ['#2166ac', '#d6604d', '#4d9221', '#762a83', '#8c510a'];
const PANEL = { width: 400, height: 260, left: 50, top: 30, gap: 70 };

/** One panel: axes with rounded marks, a line and dots for each curve. */
function panel(title: string, x0: number, curves: readonly (readonly (readonly [number, number])[])[]): string {
  const points = curves.flat();
  const most = Math.max(...points.map(([x]) => x));
  const [low, high] = [Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y))];
  const unit = high - low > 20 ? 10 : high - low > 2 ? 2 : 0.2;
  const [from, to] = [Math.floor(low / unit) * unit, Math.ceil(high / unit) * unit];
  const { width, height, top } = PANEL;
  const px = (x: number): string => (x0 + (x / most) * width).toFixed(1);
  const py = (y: number): string => (top + height - ((y - from) / (to - from)) * height).toFixed(1);
  const parts = [`<text x="${x0}" y="${top - 12}" font-weight="bold">${title}</text>`];
  for (let i = 0; i <= Math.round((to - from) / unit); i++) {
    const y = from + i * unit;
    parts.push(`<path d="M${x0} ${py(y)}h${width}" stroke="#ddd"/>`);
    parts.push(`<text x="${x0 - 6}" y="${Number(py(y)) + 4}" text-anchor="end">${Number(y.toFixed(1))}</text>`);
  }
  const stride = Math.max(1, Math.ceil(most / 8));
  for (let x = 0; x <= most; x += stride) {
    parts.push(`<text x="${px(x)}" y="${top + height + 16}" text-anchor="middle">${x}</text>`);
  }
  parts.push(`<text x="${x0 + width / 2}" y="${top + height + 32}" text-anchor="middle">epochs</text>`);
  curves.forEach((curve, i) => {
    const path = curve.map(([x, y]) => `${px(x)} ${py(y)}`).join('L');
    parts.push(`<path d="M${path}" fill="none" stroke="${COLORS[i]}" stroke-width="2"/>`);
    for (const [x, y] of curve) parts.push(`<circle cx="${px(x)}" cy="${py(y)}" r="2.5" fill="${COLORS[i]}"/>`);
  });
  return parts.join('\n');
}

const [output, ...given] = process.argv.slice(2);
if (!output || given.length === 0) {
  process.stderr.write('usage: npx tsx bench/finetune/curves.ts OUTPUT.svg LABEL=RUN_FOLDER_OR_JSONL ...\n');
  process.exit(1);
}
const curves = given.map((argument) => {
  const equals = argument.indexOf('=');
  const [label, source] = [argument.slice(0, equals), argument.slice(equals + 1)];
  return source.endsWith('.jsonl') ? readTorch(label, source) : readRun(label, source);
});
const { width, height, left, top, gap } = PANEL;
const total = { width: left + 2 * width + gap + 20, height: top + height + 50 + 18 * curves.length };
const legend = curves.map(({ label }, i) => {
  const y = top + height + 56 + 18 * i;
  const text = label.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<path d="M${left} ${y - 4}h24" stroke="${COLORS[i]}" stroke-width="2"/><text x="${left + 32}" y="${y}">${text}</text>`;
});
writeFileSync(
  output,
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total.width} ${total.height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    panel('held-out accuracy, %', left, curves.map(({ accuracy }) => accuracy)), // prettier-ignore
    panel('training loss, mean of the epoch', left + width + gap, curves.map(({ loss }) => loss)), // prettier-ignore
    ...legend,
    '</svg>',
    '',
  ].join('\n'),
);
