/** Several runs side by side as one HTML page. Browser-safe. */
import { chartFigures } from './charts.ts';
import { comparisonCharts } from './curves.ts';
import { html, percent, renderPage, table } from './html.ts';
import type { Cell, PageAssets } from './html.ts';
import { duration } from './render.ts';
import { adapterNames } from '../train/run-schemas.ts';
import { settingOf } from './run.ts';
import type { Run } from './run.ts';

/** Names of the settings in which runs differ. */
export function differingSettings(runs: readonly Run[]): string[] {
  const names = new Set(
    runs.flatMap(({ config }) =>
      Object.entries(config.recipe).flatMap(([section, values]) =>
        Object.keys(values).map((key) => `${section}.${key}`),
      ),
    ),
  );
  return [...names].filter((name) => new Set(runs.map((run) => JSON.stringify(settingOf(run, name)))).size > 1);
}

/** Rows of results, one column a run: for the page and for the terminal. */
export function resultRows(runs: readonly Run[]): [name: string, ...values: string[]][] {
  const row = (name: string, value: (run: Run) => string | null): [string, ...string[]] => [
    name,
    ...runs.map((run) => value(run) ?? '–'),
  ];
  const share = (value: number | null | undefined): string | null => (value == null ? null : percent(value));
  const rows = [
    row('class head', ({ result }) => share(result?.accuracy.class)),
    row('distillation head', ({ result }) => share(result?.accuracy.distillation)),
    row('average of both', ({ result }) =>
      result?.accuracy.distillation == null ? null : share(result.accuracy.average),
    ),
    row('moving average', ({ result }) => share(result?.ema?.average)),
    row('teacher', ({ result }) => share(result?.accuracy.teacher)),
    row('steps', ({ result }) => result?.steps.toLocaleString('en-US') ?? null),
    row('images/s', ({ result }) => result?.imagesPerSecond.toFixed(1) ?? null),
    row('time of training', ({ result }) => (result ? duration(result.seconds) : 'not finished')),
    row('adapter', ({ sessions }) => adapterNames(sessions) || null),
    row('version', ({ config }) => config.version),
  ];
  // What none of them has is no row.
  return rows.filter(([, ...values]) => values.some((value) => value !== '–'));
}

export function renderComparison(runs: readonly Run[], assets: PageAssets): string {
  const labels = runs.map(({ label }) => label);
  const settings = differingSettings(runs).map((name): Cell[] => [
    name,
    ...runs.map((run) => JSON.stringify(settingOf(run, name)) ?? '–'),
  ]);
  const body = html`<h1>${runs.length} runs</h1>
    <p class="muted">${labels.join(', ')}</p>
    <h2>Results, held out</h2>
    ${table(['', ...labels], resultRows(runs))}
    <h2>Settings in which they differ</h2>
    ${settings.length > 0 ? table(['setting', ...labels], settings) : html`<p>None: the recipes are the same.</p>`}
    <h2>Curves</h2>
    ${chartFigures(comparisonCharts(runs), 'compare')}`;
  return renderPage(`${labels.join(', ')} · DeiT on WebGPU`, body, assets);
}
