import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { DeitError, writeFileAtomically } from '../../../engine/node.ts';

const LOCK = 'run.lock';
const METRICS = 'metrics.jsonl';

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
 *     run.lock           the process that writes here
 */
export class RunFolder {
  private readonly metrics: number;

  private constructor(readonly path: string) {
    lock(path);
    this.metrics = attempt(join(path, METRICS), () => openSync(join(path, METRICS), 'a'));
  }

  /** A new folder: `path`, which must be empty or absent, or else the next free `runs/<name>-<number>`. */
  static create(name: string, path?: string): RunFolder {
    const chosen = path ?? nextFree('runs', name);
    attempt(chosen, () => mkdirSync(chosen, { recursive: true }));
    if (readdirSync(chosen).some((name) => !isBeginning(join(chosen, name), name))) {
      throw new DeitError('file-unwritable', 'The run folder is not empty; nothing in it is overwritten.', {
        where: chosen,
        fix: `continue that run with --resume ${chosen}, choose another folder with --output, or remove it`,
      });
    }
    return new RunFolder(chosen);
  }

  /** The folder of an earlier run, to continue it. */
  static open(path: string): RunFolder {
    if (!existsSync(join(path, 'config.json'))) {
      throw new DeitError('file-unreadable', 'There is no training run in this folder.', {
        where: path,
        expected: 'config.json, as `deit train` writes it',
      });
    }
    return new RunFolder(path);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async writeJson(name: string, content: unknown): Promise<void> {
    await writeFileAtomically(this.file(name), [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);
  }

  appendMetrics(line: object): void {
    attempt(this.file(METRICS), () => writeSync(this.metrics, `${JSON.stringify(line)}\n`));
  }

  /** Drops the lines for which `keep` says no, and a last line that was cut off: steps that a resumed run makes again. */
  filterMetrics(keep: (line: Record<string, unknown>) => boolean): void {
    const lines = readFileSync(this.file(METRICS), 'utf8').split('\n');
    const kept = lines.filter((line) => {
      try {
        return line !== '' && keep(JSON.parse(line) as Record<string, unknown>);
      } catch {
        return false;
      }
    });
    attempt(this.file(METRICS), () => {
      ftruncateSync(this.metrics, 0);
      writeSync(this.metrics, kept.map((line) => `${line}\n`).join(''));
    });
  }

  close(): void {
    closeSync(this.metrics);
    rmSync(this.file(LOCK), { force: true });
  }
}

/** Whether this is all that a run had written which was killed before its `config.json` was there. */
const isBeginning = (path: string, name: string): boolean =>
  name === LOCK || /^config\.json\.\d+\.tmp$/.test(name) || (name === METRICS && statSync(path).size === 0);

/**
 * One process a folder. A lock whose process is gone (killed, crashed) is taken over; where the system tells when a process
 * began, a later one of the same number does not pass for it.
 */
function lock(folder: string): void {
  const path = join(folder, LOCK);
  for (;;) {
    const isMine = attempt(path, () => {
      try {
        writeFileSync(path, `${process.pid} ${startOf(process.pid)}`, { flag: 'wx' });
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw error;
      }
    });
    if (isMine) return;
    const [pid, start = ''] = readFileSync(path, 'utf8').split(' ');
    const owner = Number(pid);
    if (owner !== process.pid && isAlive(owner) && startOf(owner) === start) {
      throw new DeitError('file-unwritable', 'Another run is writing to this folder.', {
        where: folder,
        found: `process ${owner}`,
        fix: 'wait for it or end it, or choose another folder with --output',
      });
    }
    rmSync(path, { force: true });
  }
}

/** When a process began, in ticks since the machine started; empty where the system does not tell. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the second field, the name in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return '';
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function nextFree(root: string, name: string): string {
  for (let number = 1; ; number++) {
    const path = join(root, `${name}-${number}`);
    if (!existsSync(path)) return path;
  }
}

function attempt<Result>(path: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    throw new DeitError('file-unwritable', 'The run folder cannot be written.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'free some space, or choose another folder with --output',
      cause,
    });
  }
}
