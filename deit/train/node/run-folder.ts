import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DeitError, syncFolder, writeFileAtomically } from '../../../engine/node.ts';
import { quoted } from '../../shell.ts';
import { isListing } from './data-listing.ts';
import { LOCK, MARK, lockFolder } from './lock.ts';
import { METRICS, MetricsFile } from './metrics-file.ts';
import type { MetricsLine } from './metrics-file.ts';
import { TENSORBOARD, TensorBoardFile } from './tensorboard-file.ts';
import { CHECKPOINTS } from './run-state.ts';

/** Milliseconds that a run which was killed is given to be gone. */
const GOING_MS = 3000;

/** Files of a run that has made no step. */
const BEGINNING = ['config.json', 'adapter.json', 'variants.json', METRICS];

/**
 * The folder of one training run:
 *
 *     config.json        the resolved recipe, versions, the command
 *     adapter.json       what it ran on, start by start
 *     variants.json      the kernel variants it computes by, if these were measured
 *     metrics.jsonl      one JSON object a line: steps and evaluations
 *     tensorboard/       the same figures as TensorBoard reads them, if they are wanted
 *     data-*.jsonl.gz    classes and images of the data in their order, with sizes
 *     checkpoints/       the whole state of the run, to resume from
 *     student.safetensors, teacher.safetensors
 *     result.json        the final figures
 *     analysis.json      what the report shows of the models beside the metrics
 *     answers.json       classes that each head and the teacher gave the held-out images, in their order
 *     run.lock           locked by the process that writes here
 */
export class RunFolder {
  /** Null where another rank writes. */
  private readonly metrics: MetricsFile | null;
  /** The same figures for TensorBoard, if they are wanted. */
  private board: TensorBoardFile | null = null;

  private constructor(
    readonly path: string,
    private readonly unlock: (() => void) | null,
    /** Folders that were made for this run, the innermost first; null for the folder of an earlier run. */
    private readonly made: readonly string[] | null = null,
  ) {
    this.metrics = unlock && attempt(this.file(METRICS), () => new MetricsFile(this.file(METRICS)));
  }

  /** The folder as the other ranks of a run see it: it may not even be there, and they write nothing. */
  static ofOtherRank(path: string): RunFolder {
    return new RunFolder(path, null);
  }

  /** Whether this process is the one that writes here. */
  get isOwn(): boolean {
    return this.unlock !== null;
  }

  /** A new folder: `path`, which must be empty or absent, or else the next free `runs/<name>-<number>`. */
  static create(name: string, path?: string): RunFolder {
    const [chosen, made] = path === undefined ? nextFree('runs', name) : [path, attempt(path, () => makeFolders(path))];
    // Before anything is touched, and once more when nobody else can be at it.
    refuseFilled(chosen);
    const unlock = attempt(chosen, () => lockFolder(chosen));
    try {
      refuseFilled(chosen);
      return new RunFolder(chosen, unlock, made);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** The folder of an earlier run, to continue it. */
  static open(path: string): RunFolder {
    if (!existsSync(join(path, 'config.json'))) {
      throw new DeitError('file-unreadable', 'There is no training run in this folder.', {
        where: path,
        expected: 'config.json, as `deit train` writes it',
      });
    }
    return new RunFolder(
      path,
      // A launcher ends before the last of its ranks is gone.
      attempt(path, () => lockFolder(path, { patienceMs: GOING_MS })),
    );
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Makes the folders durable that were made for this run, so that a power cut does not take them with all that is in them. */
  async flushFolders(): Promise<void> {
    for (const path of this.made ?? []) await syncFolder(dirname(path));
  }

  async writeJson(name: string, content: unknown): Promise<void> {
    if (this.isOwn) await writeFileAtomically(this.file(name), [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);
  }

  appendMetrics(line: object): void {
    attempt(this.file(METRICS), () => this.metrics?.append(line));
    attempt(this.file(TENSORBOARD), () => this.board?.append(line as MetricsLine));
  }

  /** From here on metrics are written for TensorBoard too. */
  openTensorBoard(): void {
    if (this.isOwn) attempt(this.file(TENSORBOARD), () => (this.board ??= new TensorBoardFile(this.file(TENSORBOARD))));
  }

  /** Drops what follows the last line for which `keep` says yes: steps that a resumed run makes again. */
  cutMetrics(keep: (line: MetricsLine) => boolean): void {
    attempt(this.file(METRICS), () => this.metrics?.cutAfter(keep));
    attempt(this.file(TENSORBOARD), () => this.board?.cut(keep));
  }

  /** Makes the metrics durable, so that after a power cut they reach as far as the checkpoint that is written next. */
  flushMetrics(): void {
    attempt(this.file(METRICS), () => this.metrics?.flush());
  }

  /**
   * Lets go of the folder. With `removeUnused` a new one goes where no step was made and nothing saved: a start that failed
   * leaves nothing in the way of the next.
   */
  close({ removeUnused = false } = {}): void {
    if (!this.metrics) return;
    const made = removeUnused && this.metrics.isEmpty && !existsSync(this.file(CHECKPOINTS)) ? this.made : null;
    this.metrics.close();
    this.board?.close();
    if (made) {
      rmSync(this.file(TENSORBOARD), { recursive: true, force: true });
      for (const name of readdirSync(this.path)) {
        if (BEGINNING.includes(name) || isListing(name)) rmSync(this.file(name), { force: true });
      }
    }
    this.unlock?.();
    made?.every(removeEmpty);
  }
}

function refuseFilled(folder: string): void {
  if (!readdirSync(folder).some((name) => !isBeginning(join(folder, name), name))) return;
  throw new DeitError('file-unwritable', 'The run folder is not empty; nothing in it is overwritten.', {
    where: folder,
    fix: `continue that run with --resume ${quoted(folder)}, choose another folder with --output, or remove it`,
  });
}

/** Whether this is all that a run had written which was killed before its `config.json` was there. */
const isBeginning = (path: string, name: string): boolean =>
  name === LOCK ||
  name === MARK ||
  /^config\.json\.\d+\.tmp$/.test(name) ||
  (name === METRICS && statSync(path).size === 0);

/** Makes the folder, so that of two runs that begin at once each has one. */
function nextFree(root: string, name: string): [path: string, made: string[]] {
  const outer = attempt(root, () => makeFolders(root));
  for (let number = 1; ; number++) {
    const path = join(root, `${name}-${number}`);
    const isNew = attempt(path, () => makeNew(path));
    if (isNew) return [path, [path, ...outer]];
  }
}

function makeNew(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Makes a folder and those above it where they are not there, and returns the new ones, the innermost first. */
function makeFolders(path: string): string[] {
  const first = mkdirSync(path, { recursive: true });
  if (first === undefined) return [];
  const made = [resolve(path)];
  while (made[made.length - 1] !== resolve(first)) made.push(dirname(made[made.length - 1]));
  return made;
}

function removeEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return false;
  }
}

function attempt<Result>(path: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof DeitError) throw cause;
    throw new DeitError('file-unwritable', 'The run folder cannot be written.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'free some space, or choose another folder with --output',
      cause,
    });
  }
}
