/** A study as one HTML page, and as Markdown. Browser-safe: styles and scripts are handed in. */
import { chartFigures } from '../report/charts.ts';
import type { Chart } from '../report/charts.ts';
import { align } from '../report/charts.ts';
import { errorBars } from '../report/error-bars.ts';
import { html, matrix, percent, renderPage, table } from '../report/html.ts';
import type { Html, PageAssets } from '../report/html.ts';
import { wilson } from '../report/answers.ts';
import { markdownTable } from '../report/table-text.ts';
import { quoted } from '../shell.ts';
import { placeOf } from './results.ts';
import type { DisagreementResult, LineResult } from './results.ts';
import type { StudyRecord } from './record.ts';
import { claimTable, intervalNote, resultTable, runTable } from './tables.ts';

const commandOf = ({ command }: StudyRecord): string => ['deit', ...command].map(quoted).join(' ');

const missing = ({ runs }: StudyRecord): number => runs.filter(({ state }) => state !== 'done').length;

const states = (record: StudyRecord): string => {
  const left = missing(record);
  return left === 0 ? `all ${record.runs.length} runs are done` : `${left} of ${record.runs.length} runs are not done: what they would show is missing`; // prettier-ignore
};

/** `page` is where the page will be, from which the reports of the runs are linked. */
export function renderStudy(record: StudyRecord, assets: PageAssets): string {
  const { name, study, results, facts, adapter } = record;
  const shown = resultTable(record);
  const body = html`<h1>${name}</h1>
    <p>${study.about}</p>
    <p class="muted">${[study.source, states(record), adapter].filter(Boolean).join(' · ')}</p>
    <ul>
      ${facts.map((fact) => html`<li>${fact}</li>`)}
    </ul>
    <h2>Results, held out</h2>
    ${table(shown.titles, shown.rows)}
    <p class="note">${intervalNote(record)}</p>
    ${barsOf(record)} ${curvesOf(record)} ${results.disagreement.map((one) => disagreementSection(one, record))}
    ${cosineSection(record)}
    ${
      results.claims.length > 0
        ? html`<h2>What the paper claims</h2>
            ${table(claimTable(results.claims).titles, claimTable(results.claims).rows)}`
        : ''
    }
    <h2>Runs</h2>
    ${runsSection(record)}
    <p>To do the same again:</p>
    <pre data-copy>${commandOf(record)}</pre>`;
  return renderPage(`${name} · DeiT on WebGPU`, body, assets);
}

const labelOf = (record: StudyRecord, line: LineResult): string =>
  [line.name, placeOf(record.plan, line)].filter(Boolean).join(', ');

/** Error bars: one standard deviation over seeds, or with one seed Wilson's interval over the images. */
function barsOf(record: StudyRecord): Html | '' {
  const { images } = record;
  const bars = record.results.lines.flatMap((line) => {
    if (!line.spread) return [];
    const { mean, deviation } = line.spread;
    const share = images === null ? null : wilson(Math.round(mean * images), images);
    const [low, high] = deviation === null ? [share?.low ?? null, share?.high ?? null] : [mean - deviation, mean + deviation]; // prettier-ignore
    return [{ label: labelOf(record, line), value: mean, low, high }];
  });
  if (bars.length === 0) return '';
  return html`<h3>Accuracy</h3>
    ${errorBars(bars, percent)}
    <p class="note">
      Bars: one standard deviation over the seeds; with one seed, Wilson's 95 % interval for the held-out images.
    </p>`;
}

/** Accuracy over length, one curve a row (Figure 3 of the paper). */
function curvesOf(record: StudyRecord): Html | '' {
  if (!record.plan.axes.includes('length')) return '';
  const axes = record.plan.axes.filter((axis) => axis !== 'length');
  const curves = new Map<string, { x: number[]; y: number[] }>();
  for (const line of record.results.lines) {
    if (!line.spread) continue;
    const label = [line.name, ...axes.map((axis) => line[axis])].filter(Boolean).join(', ');
    const curve = curves.get(label) ?? { x: [], y: [] };
    curve.x.push(Number.parseFloat(line.length));
    curve.y.push(line.spread.mean);
    curves.set(label, curve);
  }
  const chart: Chart = {
    title: 'Held-out accuracy by length of training',
    xLabel: record.results.lines[0].length.replace(/^\S+ /, ''),
    percent: true,
    ...align([...curves].map(([label, { x, y }], color) => ({ label, color, points: true, x, y }))),
  };
  return chartFigures([chart], 'length');
}

function disagreementSection({ place, names, shares, seeds }: DisagreementResult, { study }: StudyRecord): Html {
  const most = shares.flat().reduce((a, b) => Math.max(a, b), 1e-9);
  const shade = (row: number, column: number): number => shares[row][column] / most;
  const paper = study.disagreement?.paper ?? null;
  return html`<h2>Disagreement${place ? `, ${place}` : ''}</h2>
    <p class="note">
      Share of the held-out images on which two predictors differ${seeds > 1 ? `, mean of ${seeds} seeds` : ''}.
    </p>
    ${matrix(names, shares, { shade, show: percent })}
    ${
      paper && paper.length === names.length
        ? html`<p class="note">The paper's values, of another scale (DeiT-B on ImageNet):</p>
            ${table(
              ['', ...names],
              paper.map((row, r) => [names[r], ...row.map((value) => (value === null ? '–' : percent(value)))]),
            )}`
        : ''
    }`;
}

function cosineSection({ results }: StudyRecord): Html | '' {
  if (results.cosines.length === 0) return '';
  const chart: Chart = {
    title: 'Cosine of class and distillation token, by block',
    xLabel: 'block',
    note: 'In the paper it rises from 0.06 to 0.93.',
    ...align(
      results.cosines.map(({ name, values }, color) => ({
        label: name,
        color,
        points: true,
        x: values.map((_, i) => i + 1),
        y: values,
      })),
    ),
  };
  return chartFigures([chart], 'cosine');
}

function runsSection(record: StudyRecord): Html {
  const { titles, rows } = runTable(record);
  const linked = rows.map(([label, ...rest], i) => {
    const { folder, state } = record.runs[i];
    if (folder === null || state !== 'done') return [label, ...rest];
    const place = folder.split('/').map(encodeURIComponent).join('/');
    return [html`<a href="${place}/report.html">${label}</a>`, ...rest];
  });
  return table(titles, linked);
}

/** The tables for a README. */
export function studyMarkdown(record: StudyRecord): string {
  const { name, study, facts, results, adapter } = record;
  const matrices = results.disagreement.map(({ place, names, shares }) => {
    const rows = shares.map((row, r) => [names[r], ...row.map(percent)]);
    return `\n## Disagreement${place ? `, ${place}` : ''}\n\n${markdownTable({ titles: ['', ...names], rows })}`;
  });
  const tokens = results.cosines.map(({ name: row, values }) => `- ${row}: ${values.map((value) => value.toFixed(2)).join(', ')}\n`); // prettier-ignore
  return [
    `# ${name}\n\n${study.about}${study.source ? ` (${study.source})` : ''}.\n\n`,
    ...facts.map((fact) => `- ${fact}\n`),
    `- ${states(record)}${adapter ? `; on ${adapter}` : ''}\n`,
    `\n${markdownTable(resultTable(record))}\n${intervalNote(record)}\n`,
    ...matrices,
    tokens.length > 0 ? `\n## Cosine of class and distillation token, by block\n\n${tokens.join('')}` : '',
    results.claims.length > 0 ? `\n## What the paper claims\n\n${markdownTable(claimTable(results.claims))}` : '',
    `\n\`\`\`\n${commandOf(record)}\n\`\`\`\n`,
  ].join('');
}
