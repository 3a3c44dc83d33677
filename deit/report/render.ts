/** A run as one HTML page. Browser-safe: styles and scripts are handed in. */
import { formatBytes } from '../../engine/index.ts';
import { describeLoading } from '../data/index.ts';
import { describeTimes } from '../parallel/rank-times.ts';
import type { Analysis, AttentionPictures, ModelAnalysis, Profile, Sample } from './analysis.ts';
import { classScores, wilson } from './answers.ts';
import type { Share } from './answers.ts';
import { chartFigures } from './charts.ts';
import { chartsOf } from './curves.ts';
import { formatNumber, html, matrix, percent, renderPage, table } from './html.ts';
import type { Cell, Html, PageAssets } from './html.ts';
import { commandOf, describeSessions, textOf } from './run.ts';
import type { Run } from './run.ts';

const tiles = (figures: readonly (readonly [label: string, value: string | null])[]): Html =>
  html`<div class="tiles">
    ${figures
      .filter(([, value]) => value !== null)
      .map(([label, value]) => html`<div class="tile"><span class="muted">${label}</span><b>${value}</b></div>`)}
  </div>`;

export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`;
}

/** A file and its folder, which of photos by class is the class; of a path of either system. */
const fileOf = (path: string): string => path.split(/[/\\]/).slice(-2).join('/');

/** The report of one run. */
export function renderReport(run: Run, assets: PageAssets): string {
  const { result, analysis } = run;
  const model = textOf(run, 'model.name');
  const student = chartsOf(run, 'student');
  const teacher = chartsOf(run, 'teacher');
  const body = html`<h1>${run.label}</h1>
    <p class="muted">${model}${result ? '' : ' · not finished'}</p>
    ${result ? tiles(headline(run)) : ''}
    ${
      student.length > 0
        ? html`<h2>Student</h2>
            ${chartFigures(student, 'student')}`
        : ''
    }
    ${
      teacher.length > 0
        ? html`<h2>Teacher</h2>
            ${chartFigures(teacher, 'teacher')}`
        : ''
    }
    ${analysis?.model ? modelSections(analysis.model) : ''} ${analysis ? performanceSections(run, analysis) : ''}
    ${provenance(run)}`;
  return renderPage(`${run.label} · DeiT on WebGPU`, body, assets);
}

function headline({ result, sessions }: Run): (readonly [string, string | null])[] {
  const { accuracy, ema, imagesPerSecond, seconds } = result!;
  const distilled = accuracy.distillation !== null;
  return [
    ['average of both heads', distilled ? percent(accuracy.average) : null],
    ['class head', percent(accuracy.class)],
    ['distillation head', distilled ? percent(accuracy.distillation) : null],
    ['moving average', ema ? percent(ema.average) : null],
    ['teacher', accuracy.teacher === null ? null : percent(accuracy.teacher)],
    ['images/s', formatNumber(Math.round(imagesPerSecond * 10) / 10)],
    ['time of training', duration(seconds)],
    [
      'runs on',
      [...new Set(sessions.map(({ adapter }) => (adapter.software ? 'processor' : 'GPU')))].join(', ') || null,
    ],
  ];
}

function provenance(run: Run): Html {
  const { config, analysis } = run;
  const parts = describeSessions(run).flatMap(({ from, adapter, versions }): Cell[][] => [
    [`adapter ${from}`.trim(), adapter],
    [`versions ${from}`.trim(), versions],
  ]);
  const rows: Cell[][] = [
    ['recipe', config.name],
    ['model', textOf(run, 'model.name')],
    ['data', dataLine(run)],
    ['teacher', textOf(run, 'teacher.model')],
    ...parts,
    ['seed', textOf(run, 'run.seed')],
    ['processes', run.result?.ranks ? describeTimes(run.result.ranks) : '1'],
  ];
  if (analysis?.model) rows.splice(3, 0, ['classes', classLine(analysis.model.classes)]);
  const settings = Object.entries(config.recipe).flatMap(([section, values]) =>
    Object.entries(values).map(([key, value]): Cell[] => [`${section}.${key}`, JSON.stringify(value)]),
  );
  return html`<h2>What was run</h2>
    <p>To do the same again:</p>
    <pre data-copy>${commandOf(run)}</pre>
    ${table(['', ''], rows)}
    <details>
      <summary>All ${settings.length} settings</summary>
      ${table(['setting', 'value'], settings)}
    </details>`;
}

const classLine = (classes: readonly string[]): string =>
  classes.length <= 20 ? classes.join(', ') : `${classes.length}: ${classes.slice(0, 12).join(', ')}, …`;

function dataLine(run: Run): string {
  const data = run.analysis?.data;
  const path = textOf(run, 'data.path');
  if (!data) return path;
  const count = (n: number): string => n.toLocaleString('en-US');
  return `${data.name} (${path}): ${count(data.training)} training and ${count(data.heldOut)} held-out images`;
}

function modelSections(model: ModelAnalysis): Html {
  const { names, accuracy, images } = model;
  const heads = names
    .slice(1)
    .map((name, i): Cell[] => [name, shareText(wilson(Math.round(accuracy[i + 1] * images), images))]);
  const apart = model.disagreement;
  const most = apart.flat().reduce((a, b) => Math.max(a, b), 1e-9);
  const shade = (row: number, column: number): number => apart[row][column] / most;
  const cosine = model.tokenCosine && {
    title: 'Cosine of class and distillation token, by block',
    xLabel: 'block',
    x: model.tokenCosine.map((_, i) => i + 1),
    series: [{ label: 'cosine', points: true, values: model.tokenCosine }],
    note: 'In the paper it rises from 0.06 to 0.93: the tokens end close together, but apart.',
  };
  return html`<h2>Answers on ${images.toLocaleString('en-US')} held-out images</h2>
    ${table(['predictor', 'accuracy (95 % interval)'], heads)}
    ${
      // Of one predictor and the truth there is nothing to say but its errors.
      names.length > 2
        ? html`<h3>Disagreement</h3>
            <p class="note">Share of the images on which two predictors differ (Table 4 of the paper).</p>
            ${matrix(names, apart, { shade, show: percent })}`
        : ''
    }
    ${cosine ? chartFigures([cosine], 'cosine') : ''} ${confusionSection(model)}
    <h2>Samples</h2>
    <p class="note">Held-out images as the model sees them.</p>
    ${sampleGrid(model)}
    ${
      model.attention.length > 0
        ? html`<h2>Attention</h2>
            ${attentionNote}${model.attention.map((pictures) => attentionFigures(pictures, model.classes))}`
        : ''
    }`;
}

function confusionSection({ confusion, topConfusions, classes, names }: ModelAnalysis): Html {
  const title = html`<h3>
    Confusion of ${names[names.length - 1] === 'average' ? 'the average of both heads' : 'the class head'}
  </h3>`;
  const pairs = topConfusions.map(({ truth, answer, images }): Cell[] => [classes[truth], classes[answer], images]);
  const top = pairs.length === 0 ? html`<p>No mistakes.</p>` : table(['truth', 'taken for', 'images'], pairs);
  if (!confusion) return html`${title}${top}`;
  const scores = classScores(confusion).map(({ images, recall, precision }, c): Cell[] => [
    classes[c],
    images,
    shareText(recall),
    shareText(precision),
  ]);
  const totals = confusion.map((row) =>
    Math.max(
      1,
      row.reduce((a, b) => a + b, 0),
    ),
  );
  const shade = (row: number, column: number): number => confusion[row][column] / totals[row];
  return html`${title}
    <p class="note">Rows: the true class. Columns: the answer. Shaded by the share of the row.</p>
    ${matrix(classes, confusion, { shade, show: String })}
    <h3>Class by class</h3>
    <p class="note">
      Recall: of the images of the class, the part that is given it. Precision: of those that are given it, the part
      that is of it. In brackets, where the true share lies in 95 of 100 cases (Wilson's interval): wide where there are
      few images.
    </p>
    ${table(['class', 'images', 'recall', 'precision'], scores)}
    <details>
      <summary>The most frequent confusions</summary>
      ${top}
    </details>`;
}

const shareText = (share: Share | null): string =>
  share ? `${percent(share.share)} (${percent(share.low)} to ${percent(share.high)})` : '–';

function sampleGrid({ samples, classes, names }: ModelAnalysis): Html {
  // Beside the truth: of one predictor nobody asks which.
  const isAlone = names.length <= 2;
  const figure = ({ name, truth, picture, predictions }: Sample): Html => {
    const lines = predictions.map(({ predictor, answer, probability }) => {
      const right = answer === truth;
      return html`<li class="${right ? 'right' : 'wrong'}">
        ${isAlone ? '' : `${predictor}: `}${classes[answer]} <span class="muted">${percent(probability)}</span>
      </li>`;
    });
    return html`<figure>
      <img src="${picture}" alt="${classes[truth]}" />
      <figcaption>
        ${classes[truth]}${name === undefined ? '' : html`<br /><span class="file" title="${name}">${fileOf(name)}</span>`}
      </figcaption>
      <ul>
        ${lines}
      </ul>
    </figure>`;
  };
  const part = (mistake: boolean): Html[] => samples.filter((sample) => sample.mistake === mistake).map(figure);
  const [others, mistakes] = [part(false), part(true)];
  return html`<div class="samples">${others}</div>
    ${
      mistakes.length > 0
        ? html`<h3>The mistakes of which it is most certain</h3>
            <div class="samples">${mistakes}</div>`
        : ''
    }`;
}

export const attentionNote: Html = html`<p class="note">
  Light is where a token looks. Rollout (Abnar &amp; Zuidema 2020) follows attention through all blocks; below it, each
  block (row, the first on top) and head (column) by itself.
</p>`;

export function attentionFigures({ truth, picture, tokens }: AttentionPictures, classes: readonly string[]): Html {
  const rollouts = tokens.map(
    ({ token, rollout }) =>
      html`<figure>
        <img src="${rollout}" alt="attention rollout of the ${token} token" />
        <figcaption>rollout of the ${token} token</figcaption>
      </figure>`,
  );
  const layers = tokens.map(
    ({ token, layers: url, depth, heads }) =>
      html`<figure>
        <img src="${url}" alt="attention of the ${token} token, block by block" />
        <figcaption>${token} token: ${depth} blocks by ${heads} heads</figcaption>
      </figure>`,
  );
  const name = truth === null ? 'image' : classes[truth];
  return html`<div class="card">
    <div class="maps">
      <figure>
        <img src="${picture}" alt="${name}" />
        <figcaption>${name}</figcaption>
      </figure>
      ${rollouts}
    </div>
    <details>
      <summary>Every block and head</summary>
      <div class="maps">${layers}</div>
    </details>
  </div>`;
}

function performanceSections(run: Run, { training, peak }: Analysis): Html {
  const { profile, memory } = training ?? { profile: null, memory: null };
  const parts: Html[] = [];
  if (run.result) {
    const { steps, imagesPerSecond, dataWait, loading } = run.result;
    const made = loading && describeLoading(loading);
    parts.push(
      html`<p>
        ${steps.toLocaleString('en-US')} steps of the student at ${formatNumber(imagesPerSecond)} images a second;
        ${percent(dataWait)} of its time was spent waiting for
        data.${made ? ` Making its batches was ${made.parts}.` : ''}
      </p>`,
    );
  }
  if (peak) {
    parts.push(
      html`<p>
        Measured on this adapter at best: ${giga(peak.flops)} GFLOP/s in f32 and ${giga(peak.bytes)} GB/s of memory
        traffic.
      </p>`,
    );
  }
  if (profile)
    parts.push(
      html`<h3>One training step, by kernel family</h3>
        ${familyTable(profile, peak)}`,
    );
  else if (training)
    parts.push(html`<p class="note">This adapter has no timestamps, so kernels were not timed one by one.</p>`);
  if (memory) {
    const kept = Object.entries(memory.kept).map(([label, bytes]): Cell[] => [label, formatBytes(bytes)]);
    parts.push(
      html`<h3>GPU memory in training</h3>`,
      table(
        ['', 'bytes'],
        [
          ...kept,
          ['activations and other memory that is reused', formatBytes(memory.totalBytes - memory.keptBytes)],
          ['in all, at the end', formatBytes(memory.totalBytes)],
          ['in all, at most', formatBytes(memory.peakBytes)],
        ],
      ),
    );
  }
  return parts.length > 0
    ? html`<h2>Performance</h2>
        ${parts}`
    : html``;
}

const giga = (value: number): string => formatNumber(Number((value / 1e9).toPrecision(3)));

function familyTable({ families, images }: Profile, peak: Analysis['peak']): Html {
  const total = families.reduce((sum, { ms }) => sum + ms, 0);
  const flops = families.reduce((sum, family) => sum + family.flops, 0);
  const rows = families.map(({ family, dispatches, ms, flops, bytes }): Cell[] => {
    const [rate, traffic] = [(1000 * flops) / ms, (1000 * bytes) / ms];
    return [
      family,
      html`<svg class="bar" width="${((100 * ms) / families[0].ms).toFixed(1)}"></svg>`,
      ms.toFixed(2),
      percent(ms / total),
      dispatches,
      giga(rate),
      peak ? percent(rate / peak.flops) : '–',
      giga(traffic),
      peak ? percent(traffic / peak.bytes) : '–',
    ];
  });
  const titles = ['family', '', 'ms', 'of the step', 'dispatches', 'GFLOP/s', 'of peak', 'GB/s', 'of peak'];
  const rate = (1000 * flops) / total;
  const note = `${images} images, ${(flops / 1e9).toFixed(2)} GFLOP in ${total.toFixed(1)} ms on the GPU: ${giga(rate)} GFLOP/s${peak ? `, ${percent(rate / peak.flops)} of the peak` : ''}. FLOP and bytes are what the formulas need; more than the peak of memory traffic means that caches served it${peak && families.some((family) => (1000 * family.flops) / family.ms > peak.flops) ? ', and more than the peak of GFLOP/s that the machine was busy with other work when the peak was measured' : ''}.`;
  return html`${table(titles, rows)}
    <p class="note">${note}</p>`;
}
