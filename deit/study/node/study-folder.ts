/**
 * Where studies are kept, so that they share runs:
 *
 *     OUTPUT/runs/NAME-seedN-KEY/   run folders, as `deit train` writes them
 *     OUTPUT/STUDY/study.json       the study, its plan, how its runs ended, its results
 *     OUTPUT/STUDY/index.html, table.md, table.csv
 *
 * Node only.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import * as v from 'valibot';
import { DeitError, writeFileAtomically } from '../../../engine/node.ts';
import { parseRecipe, nestRecipe, resolveRecipe } from '../../recipe/resolve.ts';
import { pageAssets } from '../../report/node/run-files.ts';
import { analysisSchema, answersSchema } from '../../report/schemas.ts';
import { csvTable } from '../../report/table-text.ts';
import { quoted } from '../../shell.ts';
import { adapterNames, resultSchema, sessionsSchema } from '../../train/run-schemas.ts';
import { readRunFile } from '../../train/node/run-files.ts';
import { studySchema } from '../definition.ts';
import type { Entry, Study } from '../definition.ts';
import { renderStudy, studyMarkdown } from '../page.ts';
import type { StudyRecord } from '../record.ts';
import type { Outcome } from '../results.ts';
import { resultNumbers } from '../tables.ts';
import type { PlannedRun, StudyOptions } from './plan.ts';

const STUDY = 'study.json';
const RUNS = 'runs';

/** What a study was begun with, from which its plan follows. */
export interface BegunStudy {
  readonly name: string;
  readonly study: Study;
  readonly options: StudyOptions;
  readonly weakTeachers: boolean;
  readonly command: readonly string[];
}

/** A finished run as a study sees it. */
export interface FinishedRun {
  readonly outcome: Outcome;
  readonly steps: number;
  readonly adapter: string;
}

const entries = v.array(v.object({ name: v.string(), value: v.string(), weak: v.boolean() })) satisfies v.GenericSchema<unknown, Entry[]>; // prettier-ignore
const begunSchema = v.object({
  name: v.string(),
  study: studySchema,
  weakTeachers: v.boolean(),
  command: v.array(v.string()),
  options: v.object({
    base: v.record(v.string(), v.unknown()),
    seeds: v.array(v.number()),
    students: entries,
    teachers: entries,
    data: entries,
    rows: v.nullable(v.array(v.string())),
  }),
});

export class StudyFolder {
  /** `path`: that of the study. */
  constructor(readonly path: string) {}

  static of(output: string, name: string): StudyFolder {
    return new StudyFolder(join(output, name));
  }

  get isBegun(): boolean {
    return existsSync(join(this.path, STUDY));
  }

  /** Throws where there is one already. */
  create(): void {
    if (this.isBegun) {
      throw new DeitError('file-unwritable', 'There is a study in this folder already; nothing in it is overwritten.', {
        where: this.path,
        fix: `go on with it: deit study --resume ${quoted(this.path)}; or choose another folder with --output`,
      });
    }
    try {
      mkdirSync(this.path, { recursive: true });
    } catch (cause) {
      throw new DeitError('file-unwritable', 'The folder of the study cannot be made.', {
        where: this.path,
        found: (cause as Error).message,
        cause,
      });
    }
  }

  /** What the study was begun with. */
  async read(): Promise<BegunStudy> {
    const found = await readRunFile(this.path, STUDY, begunSchema);
    if (!found) {
      throw new DeitError('file-unreadable', 'There is no study in this folder.', {
        where: this.path,
        expected: `${STUDY}, as \`deit study\` writes it`,
      });
    }
    const base = resolveRecipe(parseRecipe(JSON.stringify(found.options.base), join(this.path, STUDY)));
    return { ...found, options: { ...found.options, base } };
  }

  /** Where a run is or will be: another study may have made it under another name. */
  runPath({ key, label, seed }: PlannedRun): string {
    const runs = join(dirname(this.path), RUNS);
    const known = existsSync(runs) ? readdirSync(runs).find((name) => name.endsWith(`-${key}`)) : undefined;
    const slug = label.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '').slice(0, 40); // prettier-ignore
    return join(runs, known ?? `${slug}-seed${seed}-${key}`);
  }

  /** From the folder of the study, with slashes. */
  link(path: string): string {
    return relative(this.path, path).split(sep).join('/');
  }

  /** Null where the run is not finished. */
  async finished(run: PlannedRun): Promise<FinishedRun | null> {
    const path = this.runPath(run);
    const result = await readRunFile(path, 'result.json', resultSchema);
    if (!result) return null;
    const answers = await readRunFile(path, 'answers.json', answersSchema);
    const analysis = await readRunFile(path, 'analysis.json', analysisSchema);
    const sessions = (await readRunFile(path, 'adapter.json', sessionsSchema)) ?? [];
    const { teacher, ...accuracy } = result.accuracy;
    return {
      outcome: {
        accuracy: { ...accuracy, ema: result.ema?.average ?? null },
        teacher,
        answers,
        tokenCosine: analysis?.model?.tokenCosine ?? null,
      },
      steps: result.steps,
      adapter: adapterNames(sessions),
    };
  }

  /** Writes all that there is to see; returns the path of the page. */
  async write(begun: BegunStudy, record: StudyRecord): Promise<string> {
    const { base, ...options } = begun.options;
    const { adapter, facts, runs, results } = record;
    const content = { ...begun, options: { ...options, base: nestRecipe(base) }, adapter, facts, runs, results };
    const page = join(this.path, 'index.html');
    const files: [string, string][] = [
      [join(this.path, STUDY), `${JSON.stringify(content, null, 2)}\n`],
      [join(this.path, 'table.md'), studyMarkdown(record)],
      [join(this.path, 'table.csv'), csvTable(resultNumbers(record))],
      [page, renderStudy(record, await pageAssets())],
    ];
    for (const [path, text] of files) await writeFileAtomically(path, [Buffer.from(text)]);
    return page;
  }
}
