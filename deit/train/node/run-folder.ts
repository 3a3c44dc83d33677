import { closeSync, existsSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, writeFileAtomically } from '../../../engine/node.ts';

/**
 * The folder of one training run:
 *
 *     config.json        the resolved recipe, versions, the command
 *     adapter.json       what it ran on
 *     metrics.jsonl      one JSON object a line: steps and evaluations
 *     student.safetensors, teacher.safetensors
 *     result.json        the final figures
 */
export class RunFolder {
  private readonly metrics: number;

  private constructor(readonly path: string) {
    this.metrics = attempt(join(path, 'metrics.jsonl'), () => openSync(join(path, 'metrics.jsonl'), 'a'));
  }

  /** A new folder: `path`, which must be empty or absent, or else the next free `runs/<name>-<number>`. */
  static create(name: string, path?: string): RunFolder {
    const chosen = path ?? nextFree('runs', name);
    if (existsSync(chosen) && readdirSync(chosen).length > 0) {
      throw new DeitError('file-unwritable', 'The run folder is not empty; nothing in it is overwritten.', {
        where: chosen,
        fix: 'choose another with --output, or remove it',
      });
    }
    attempt(chosen, () => mkdirSync(chosen, { recursive: true }));
    return new RunFolder(chosen);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async writeJson(name: string, content: unknown): Promise<void> {
    await writeFileAtomically(this.file(name), [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);
  }

  appendMetrics(line: object): void {
    attempt(this.file('metrics.jsonl'), () => writeSync(this.metrics, `${JSON.stringify(line)}\n`));
  }

  close(): void {
    closeSync(this.metrics);
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
