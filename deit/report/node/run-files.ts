/** Runs from their folders, and reports into them. Node only. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { writeFileAtomically } from '../../../engine/node.ts';
import { assetPath } from '../../data/node/index.ts';
import { renderReport } from '../render.ts';
import type { PageAsset, PageAssets } from '../html.ts';
import { METRICS, readMetrics } from '../../train/node/metrics-file.ts';
import { Sampled, StepAverages } from '../downsample.ts';
import { evaluationOf, stepOf } from '../lines.ts';
import { resultSchema, sessionsSchema } from '../../train/run-schemas.ts';
import { readConfig, readRunFile } from '../../train/node/run-files.ts';
import { analysisSchema } from '../schemas.ts';
import type { EvaluationLine, Run, StepLine } from '../run.ts';

/** Reads the folder of a run, finished or not. Throws `file-unreadable` or `file-corrupt`. */
export async function readRun(folder: string): Promise<Run> {
  return {
    label: basename(resolve(folder)),
    config: await readConfig(folder),
    sessions: (await readRunFile(folder, 'adapter.json', sessionsSchema)) ?? [],
    ...(await readFigures(folder)),
    result: await readRunFile(folder, 'result.json', resultSchema),
    analysis: await readRunFile(folder, 'analysis.json', analysisSchema),
  };
}

/** Steps and evaluations, line by line. Steps of long runs are averaged (see `StepAverages`). */
async function readFigures(folder: string): Promise<Pick<Run, 'steps' | 'evaluations'>> {
  const steps = { teacher: new StepAverages(), student: new StepAverages() };
  const evaluations = new Sampled<EvaluationLine>();
  for await (const lines of readMetrics(join(folder, METRICS))) {
    for (const line of lines) {
      const step = stepOf(line);
      if (step) steps[step.role].add(step);
      const evaluation = step ? null : evaluationOf(line);
      if (evaluation) evaluations.add(evaluation);
    }
  }
  return { steps: [...steps.teacher.lines, ...steps.student.lines], evaluations: evaluations.items };
}

/** Styles and scripts that go into every page, so that it needs no network. */
export async function pageAssets(): Promise<PageAssets> {
  const uplot = (file: string): string => createRequire(import.meta.url).resolve(`uplot/dist/${file}`);
  const read = (paths: readonly string[]): Promise<PageAsset[]> => Promise.all(paths.map(readAsset));
  return {
    styles: await read([uplot('uPlot.min.css'), assetPath('report', 'report.css')]),
    scripts: await read([uplot('uPlot.iife.min.js'), assetPath('report', 'charts.js')]),
  };
}

async function readAsset(path: string): Promise<PageAsset> {
  // As the browser will have it when it computes the hash: without carriage returns, and not ended by its own text.
  const text = (await readFile(path, 'utf8')).replaceAll('\r\n', '\n').replace(/<\/(?=script|style)/gi, '<\\/');
  return { text, sha256: createHash('sha256').update(text).digest('base64') };
}

/** Writes `report.html` and `metrics.csv` of a run, by default into its folder, and returns the path of the report. */
export async function writeReport(folder: string, output = join(folder, 'report.html')): Promise<string> {
  const run = await readRun(folder);
  await writeFileAtomically(output, [Buffer.from(renderReport(run, await pageAssets()))]);
  await writeFileAtomically(join(folder, 'metrics.csv'), metricsCsv(folder));
  return output;
}

const COLUMNS = [
  'step',
  'epoch',
  'lr',
  'loss',
  'lossLabel',
  'lossDistillation',
  'accuracy',
  'accuracyDistillation',
  'gradNorm',
  'nonFinite',
  'imagesPerSecond',
] as const satisfies readonly (keyof StepLine)[];
const HELD_OUT = ['class', 'distillation', 'average', 'top5', 'loss'] as const;

/** Every step of a run as a table, with the evaluation made after it: those columns are empty where none was. */
export async function* metricsCsv(folder: string): AsyncGenerator<Uint8Array> {
  const held = HELD_OUT.map((name) => `heldOut.${name}`);
  yield Buffer.from(`${['role', ...COLUMNS, 'lossScale', ...held, 'heldOut.ema'].join(',')}\n`);
  let step: StepLine | null = null;
  let evaluation: EvaluationLine | null = null;
  const row = (): string => {
    if (!step) return '';
    let text: string = step.role;
    for (const name of COLUMNS) text += `,${step[name] ?? ''}`;
    text += `,${step.lossScale?.next ?? ''}`;
    for (const name of HELD_OUT) text += `,${evaluation?.accuracy[name] ?? ''}`;
    return `${text},${evaluation?.ema?.average ?? ''}\n`;
  };
  for await (const lines of readMetrics(join(folder, METRICS))) {
    const rows: string[] = [];
    for (const line of lines) {
      const next = stepOf(line);
      if (next) {
        rows.push(row());
        [step, evaluation] = [next, null];
      } else if (step?.step === line.step && step?.role === line.role) evaluation = evaluationOf(line);
    }
    yield Buffer.from(rows.join(''));
  }
  yield Buffer.from(row());
}
