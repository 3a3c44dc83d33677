/** Runs from their folders, and reports into them. Node only. */
import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { DeitError, writeFileAtomically } from '../../../engine/node.ts';
import { assetPath } from '../../data/node/index.ts';
import type { Analysis } from '../analysis.ts';
import { renderReport } from '../render.ts';
import type { PageAssets } from '../render.ts';
import type { EvaluationLine, Run, RunConfig, StepLine } from '../run.ts';

/** Reads the folder of a run, finished or not. Throws `file-unreadable` or `file-corrupt`. */
export async function readRun(folder: string): Promise<Run> {
  const config = await readJson<RunConfig>(folder, 'config.json');
  if (!config) {
    throw new DeitError('file-unreadable', 'There is no training run in this folder.', {
      where: folder,
      expected: 'config.json, as `deit train` writes it',
    });
  }
  const metrics = join(folder, 'metrics.jsonl');
  const text = existsSync(metrics) ? await readFile(metrics, 'utf8') : '';
  const lines = text.split('\n').flatMap((line) => parseLine(line));
  return {
    label: basename(resolve(folder)),
    config,
    adapter: await readJson(folder, 'adapter.json'),
    steps: lines.filter((line) => typeof line.accuracy === 'number') as StepLine[],
    evaluations: lines.filter((line) => typeof line.accuracy === 'object') as EvaluationLine[],
    result: await readJson(folder, 'result.json'),
    analysis: await readJson<Analysis>(folder, 'analysis.json'),
  };
}

/** The last line of a run that is under way, or was killed, may be cut off. */
function parseLine(line: string): (StepLine | EvaluationLine)[] {
  try {
    return [JSON.parse(line) as StepLine | EvaluationLine];
  } catch {
    return [];
  }
}

async function readJson<Content>(folder: string, name: string): Promise<Content | null> {
  const path = join(folder, name);
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Content;
  } catch (cause) {
    throw new DeitError('file-corrupt', 'A file of the run cannot be read.', {
      where: path,
      found: String(cause),
      fix: 'remove the file to have the report without it',
      cause,
    });
  }
}

/** Styles and scripts that go into every page, so that it needs no network. */
export async function pageAssets(): Promise<PageAssets> {
  const uplot = (file: string): string => createRequire(import.meta.url).resolve(`uplot/dist/${file}`);
  const read = (paths: readonly string[]): Promise<string[]> =>
    Promise.all(paths.map((path) => readFile(path, 'utf8')));
  return {
    styles: await read([uplot('uPlot.min.css'), assetPath('report', 'report.css')]),
    scripts: await read([uplot('uPlot.iife.min.js'), assetPath('report', 'charts.js')]),
  };
}

/** Writes `report.html` and `metrics.csv` of a run, by default into its folder, and returns the path of the report. */
export async function writeReport(folder: string, output = join(folder, 'report.html')): Promise<string> {
  const run = await readRun(folder);
  await writeFileAtomically(output, [Buffer.from(renderReport(run, await pageAssets()))]);
  await writeFileAtomically(join(folder, 'metrics.csv'), [Buffer.from(metricsCsv(run))]);
  return output;
}

const COLUMNS = [
  'role',
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

/** Steps and evaluations as one table: the held-out columns are empty where no evaluation was made. */
export function metricsCsv({ steps, evaluations }: Pick<Run, 'steps' | 'evaluations'>): string {
  const at = new Map(evaluations.map((line) => [`${line.role} ${line.step}`, line]));
  const rows = steps.map((line) => {
    const evaluation = at.get(`${line.role} ${line.step}`);
    const own = COLUMNS.map((name) => line[name] ?? '');
    const held = HELD_OUT.map((name) => evaluation?.accuracy[name] ?? '');
    return [...own, line.lossScale?.next ?? '', ...held, evaluation?.ema?.average ?? ''].join(',');
  });
  const titles = [...COLUMNS, 'lossScale', ...HELD_OUT.map((name) => `heldOut.${name}`), 'heldOut.ema'];
  return `${[titles.join(','), ...rows].join('\n')}\n`;
}
