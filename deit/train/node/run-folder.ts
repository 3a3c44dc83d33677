import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DeitError, writeFileAtomically } from '../../../engine/node.ts';
import { quoted } from '../../report/shell.ts';
import { LOCK, MARK, lockFolder } from './lock.ts';
import { METRICS, MetricsFile } from './metrics-file.ts';
import type { MetricsLine } from './metrics-file.ts';

/**
 * The folder of one training run:
 *
 *     config.json        the resolved recipe, versions, the command
 *     adapter.json       what it ran on
 *     variants.json      the kernel variants it computes by, if these were measured
 *     metrics.jsonl      one JSON object a line: steps and evaluations
 *     checkpoints/       the whole state of the run, to resume from
 *     student.safetensors, teacher.safetensors
 *     result.json        the final figures
 *     run.lock           locked by the process that writes here
 */
export class RunFolder {
  private readonly metrics: MetricsFile;

  private constructor(
    readonly path: string,
    private readonly unlock: () => void,
  ) {
    this.metrics = attempt(this.file(METRICS), () => new MetricsFile(this.file(METRICS)));
  }

  /** A new folder: `path`, which must be empty or absent, or else the next free `runs/<name>-<number>`. */
  static create(name: string, path?: string): RunFolder {
    const chosen = path ?? nextFree('runs', name);
    attempt(chosen, () => mkdirSync(chosen, { recursive: true }));
    // Before anything is touched, and once more when nobody else can be at it.
    refuseFilled(chosen);
    const unlock = attempt(chosen, () => lockFolder(chosen));
    try {
      refuseFilled(chosen);
      return new RunFolder(chosen, unlock);
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
      attempt(path, () => lockFolder(path)),
    );
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async writeJson(name: string, content: unknown): Promise<void> {
    await writeFileAtomically(this.file(name), [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);
  }

  appendMetrics(line: object): void {
    attempt(this.file(METRICS), () => this.metrics.append(line));
  }

  /** Drops what follows the last line for which `keep` says yes: steps that a resumed run makes again. */
  cutMetrics(keep: (line: MetricsLine) => boolean): void {
    attempt(this.file(METRICS), () => this.metrics.cutAfter(keep));
  }

  /** Makes the metrics durable, so that after a power cut they reach as far as the checkpoint that is written next. */
  flushMetrics(): void {
    attempt(this.file(METRICS), () => this.metrics.flush());
  }

  close(): void {
    this.metrics.close();
    this.unlock();
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
function nextFree(root: string, name: string): string {
  for (let number = 1; ; number++) {
    const path = join(root, `${name}-${number}`);
    if (attempt(path, () => makeNew(path))) return path;
  }
}

function makeNew(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true });
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
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
