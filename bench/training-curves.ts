/**
 * `npm run curves [run...]`: the 50-step training runs of test/golden/training.json on this machine's adapter, full
 * DeiT-Ti included (about a minute on two cores without a GPU), against the same loop in PyTorch. Prints the errors,
 * draws both loss curves and their difference to bench/training-curves.svg (only when all runs are done), and fails if
 * one is off by more than the tests allow.
 */
import { writeFileSync } from 'node:fs';
import { createEngine } from '../engine/node.ts';
import { goldenTensors } from '../test/support/golden.ts';
import { compareRun, goldenRuns, trainGolden } from '../test/support/golden-training.ts';
import type { Comparison } from '../test/support/golden-training.ts';

interface Curves {
  readonly title: string;
  readonly subtitle: string;
  readonly ours: readonly number[];
  readonly reference: ArrayLike<number>;
  readonly comparisons: readonly Comparison[];
  /** What PyTorch's own float32 runs are off. */
  readonly drift: ArrayLike<number>;
}

// ---- drawing

const CELL = { width: 330, height: 300 };
const PLOT = { left: 46, width: 270, lossTop: 44, lossHeight: 120, errorTop: 184, errorHeight: 90 };
const COLUMNS = 4;
/** Decades of the lower plot: what is below lies on its bottom. */
const [LOWEST, HIGHEST] = [-9, -3];
const COLOURS = { reference: '#9ecae1', ours: '#08519c', drift: '#e6550d', allowed: '#777777' };

const fixed = (x: number): string => x.toFixed(1);
const path = (points: readonly (readonly [number, number])[]): string =>
  points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${fixed(x)} ${fixed(y)}`).join('');
const label = (x: number, y: number, text: string, extra = ''): string =>
  `<text x="${fixed(x)}" y="${fixed(y)}" ${extra}>${text}</text>`;
const grid = (y: number): string =>
  `<path d="M${PLOT.left} ${fixed(y)}h${PLOT.width}" stroke="#dddddd" stroke-width="0.6"/>`;
const curve = (points: readonly (readonly [number, number])[], colour: string, style = 'stroke-width="1.2"'): string =>
  `<path d="${path(points)}" fill="none" stroke="${colour}" ${style}/>`;

/** Both losses above, the relative difference below, over the steps. */
function cell({ title, subtitle, ours, reference, comparisons, drift }: Curves): string {
  const steps = ours.length;
  const x = (step: number): number => PLOT.left + (PLOT.width * step) / (steps - 1);
  const losses = Array.from(reference);
  const top = Math.ceil(Math.max(...losses, ...ours) * 2) / 2;
  const lossY = (loss: number): number => PLOT.lossTop + PLOT.lossHeight * (1 - loss / top);
  const errorY = (error: number): number => {
    const decade = Math.min(HIGHEST, Math.max(LOWEST, Math.log10(error || 10 ** LOWEST)));
    return PLOT.errorTop + (PLOT.errorHeight * (HIGHEST - decade)) / (HIGHEST - LOWEST);
  };
  const over = (values: readonly number[], y: (value: number) => number) =>
    values.map((value, step) => [x(step), y(value)] as const);
  const end = 'text-anchor="end"';
  const decades = [-9, -7, -5, -3];
  return [
    label(PLOT.left, 16, title, 'font-weight="bold"'),
    label(PLOT.left, 30, subtitle, 'fill="#555555"'),
    ...[0, top / 2, top].flatMap((loss) => [
      grid(lossY(loss)),
      label(PLOT.left - 5, lossY(loss) + 3, String(loss), end),
    ]),
    ...decades.flatMap((decade) => [
      grid(errorY(10 ** decade)),
      label(PLOT.left - 5, errorY(10 ** decade) + 3, `1e${decade}`, end),
    ]),
    curve(over(losses, lossY), COLOURS.reference, 'stroke-width="4"'),
    curve(over(ours, lossY), COLOURS.ours),
    curve(
      over(
        comparisons.map(({ allowed }) => allowed),
        errorY,
      ),
      COLOURS.allowed,
      'stroke-width="1" stroke-dasharray="4 3"',
    ),
    curve(over(Array.from(drift), errorY), COLOURS.drift, 'stroke-width="1"'),
    curve(
      over(
        comparisons.map(({ error }) => error),
        errorY,
      ),
      COLOURS.ours,
    ),
    ...[0, 10, 20, 30, 40, 49].map((step) =>
      label(x(step), PLOT.errorTop + PLOT.errorHeight + 14, String(step), 'text-anchor="middle"'),
    ),
  ].join('\n');
}

function figure(runs: readonly Curves[]): string {
  const rows = Math.ceil(runs.length / COLUMNS);
  const [width, height] = [CELL.width * COLUMNS, CELL.height * rows + 34];
  const key: [string, string][] = [
    [COLOURS.reference, 'loss in PyTorch, float64'],
    [COLOURS.ours, 'loss here (above), its relative difference (below)'],
    [COLOURS.drift, 'largest difference of three float32 runs in PyTorch'],
    [COLOURS.allowed, 'what the tests allow'],
  ];
  const legend = key.map(([colour, text], i) => {
    const left = 46 + (i * (width - 46)) / key.length;
    return `<path d="M${fixed(left)} 18h22" stroke="${colour}" stroke-width="3"/>${label(left + 28, 22, text)}`;
  });
  const cells = runs.map((run, i) => {
    const [column, row] = [i % COLUMNS, Math.floor(i / COLUMNS)];
    return `<g transform="translate(${CELL.width * column} ${34 + CELL.height * row})">\n${cell(run)}\n</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="10">
<title>Fifty optimizer steps here and in PyTorch</title>
<rect width="${width}" height="${height}" fill="white"/>
${legend.join('\n')}
${cells.join('\n')}
</svg>
`;
}

// ---- running

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !goldenRuns.some(({ key }) => key === name));
if (unknown.length > 0) {
  console.error(`No run is named ${unknown.join(', ')}; there are ${goldenRuns.map(({ key }) => key).join(', ')}.`);
  process.exit(2);
}
const chosen = goldenRuns.filter(({ key }) => wanted.length === 0 || wanted.includes(key));
const engine = await createEngine();
const curves: Curves[] = [];
let failed = false;
for (const run of chosen) {
  const started = performance.now();
  const trained = await trainGolden(engine, run);
  const { losses, state } = compareRun(run, trained);
  const worst = (comparisons: readonly Comparison[]): string =>
    Math.max(...comparisons.map(({ error }) => error)).toExponential(1);
  const wrong = [...losses, ...state].filter(({ error, allowed }) => !(error <= allowed));
  failed ||= wrong.length > 0;
  const subtitle = `loss within ${worst(losses)}, weights after step 50 within ${worst(state)}`;
  console.log(`${run.key}: ${subtitle} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  for (const { what, error, allowed } of wrong) console.log(`  ${what}: off by ${error}, ${allowed} is allowed`);
  const stored = goldenTensors(run.file);
  curves.push({
    title: run.key,
    subtitle,
    ours: trained.losses,
    reference: stored(`${run.key}.loss`).values,
    comparisons: losses,
    drift: stored(`${run.key}.lossDrift`).values,
  });
}
engine.close();
if (chosen.length === goldenRuns.length && !failed) {
  const file = new URL('training-curves.svg', import.meta.url);
  writeFileSync(file, figure(curves));
  console.log('written to bench/training-curves.svg');
}
process.exitCode = failed ? 1 : 0;
