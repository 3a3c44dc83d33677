import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { lockFolder } from '../../deit/train/node/lock.ts';
import { MetricsFile, readMetrics } from '../../deit/train/node/metrics-file.ts';
import type { MetricsLine } from '../../deit/train/node/metrics-file.ts';
import { RunFolder } from '../../deit/train/node/run-folder.ts';

/** What the file system answers where a test wants it otherwise than it is. */
const fileSystem = vi.hoisted(() => ({ onLock: (): void => undefined }));
vi.mock('fs-native-extensions', async (importOriginal) => {
  const original = await importOriginal<{ tryLock: (...args: unknown[]) => boolean }>();
  return {
    tryLock: (...args: unknown[]) => {
      fileSystem.onLock();
      return original.tryLock(...args);
    },
  };
});

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-run-folder-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  fileSystem.onLock = () => undefined;
});
const newFolder = (): string => mkdtempSync(join(root, 'run-'));
const refused = expect.objectContaining({ code: 'file-unwritable' }) as Error;

/** Runs a program beside this one, until it says something. */
async function beside(program: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Holds the lock of a file as a run does. */
const HOLDER = `const [, path] = process.argv;
  require('fs-native-extensions').tryLock(require('fs').openSync(path, 'r+'));
  console.log('locked');
  setInterval(() => undefined, 1000);`;

describe('the lock of a run folder', () => {
  it('has one owner, whom it names, until that one lets go', () => {
    const folder = newFolder();
    const release = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(refused);
    expect(() => lockFolder(folder)).toThrow(`process ${process.pid} on ${hostname()}`);
    release();
    expect(readdirSync(folder)).toEqual([]);
    lockFolder(folder)();
  });

  it('goes with its process when that is killed, and not before', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'run.lock'), '');
    const child = await beside(HOLDER, join(folder, 'run.lock'));
    expect(() => lockFolder(folder)).toThrow(refused);
    await kill(child);
    lockFolder(folder)();
  });

  it('is free where the process number in it is that of another process now', () => {
    const folder = newFolder();
    const gone = { pid: process.ppid, host: hostname(), boot: '', since: '2026-01-01T00:00:00.000Z' };
    writeFileSync(join(folder, 'run.lock'), JSON.stringify(gone));
    lockFolder(folder)();
  });

  it('is on the file that others find, not on one that its last owner has just removed', () => {
    const folder = newFolder();
    const path = join(folder, 'run.lock');
    fileSystem.onLock = () => {
      fileSystem.onLock = () => undefined;
      rmSync(path);
    };
    const release = lockFolder(folder);
    expect(existsSync(path)).toBe(true);
    expect(() => lockFolder(folder)).toThrow(refused);
    release();
  });

  it('of another machine, whose locks may not be seen here, is taken over only without a sign of life', async () => {
    const folder = newFolder();
    const path = join(folder, 'run.lock');
    const owner = { pid: 1, host: `not-${hostname()}`, boot: 'another', since: '2026-01-01T00:00:00.000Z' };
    writeFileSync(path, JSON.stringify(owner));
    const alive = await beside(
      `const [, path] = process.argv;
      console.log('alive');
      setInterval(() => require('fs').utimesSync(path, new Date(), new Date()), 20);`,
      path,
    );
    expect(() => lockFolder(folder, { watchMs: 5000 })).toThrow(`process 1 on not-${hostname()}`);
    await kill(alive);
    lockFolder(folder, { watchMs: 100 })();
  });

  it('is a file that only one can make where the file system has no locks', () => {
    const folder = newFolder();
    fileSystem.onLock = () => {
      throw Object.assign(new Error('no locks available'), { code: 'ENOLCK' });
    };
    const release = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(/has no locks: if that run was killed, remove .*run\.owner/);
    release();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('a run folder', () => {
  it('is not begun in a folder that another run has filled while it waited for the lock', () => {
    const folder = newFolder();
    fileSystem.onLock = () => writeFileSync(join(folder, 'config.json'), '{}');
    expect(() => RunFolder.create('run', folder)).toThrow(/not empty/);
    expect(readdirSync(folder)).toEqual(['config.json']);
  });

  it('keeps what is written into it as JSON, whole', async () => {
    const folder = newFolder();
    const run = RunFolder.create('run', folder);
    await run.writeJson('config.json', { name: 'run', recipe: { optim: { lr: 0.5 } } });
    await run.writeJson('config.json', { name: 'again' });
    run.close();
    expect(readFileSync(join(folder, 'config.json'), 'utf8')).toBe('{\n  "name": "again"\n}\n');
  });

  it('is quoted for the shell in the command that goes on with it', () => {
    const folder = join(newFolder(), "Anna's run");
    RunFolder.create('run', folder).close();
    writeFileSync(join(folder, 'config.json'), '{}');
    expect(() => RunFolder.create('run', folder)).toThrow(`--resume '${folder.replace("'", "'\\''")}'`);
  });
});

describe('metrics', () => {
  const line = (step: number): MetricsLine => ({ role: 'student', step, text: 'ü'.repeat(step % 90) });
  const write = (lines: readonly MetricsLine[], tail = ''): string => {
    const path = join(newFolder(), 'metrics.jsonl');
    writeFileSync(path, `${lines.map((one) => JSON.stringify(one)).join('\n')}\n${tail}`);
    return path;
  };
  const read = async (path: string): Promise<MetricsLine[]> => {
    const all: MetricsLine[][] = [];
    for await (const some of readMetrics(path)) all.push(some);
    return all.flat();
  };
  const cut = (path: string, keep: (line: MetricsLine) => boolean): void => {
    const file = new MetricsFile(path);
    file.cutAfter(keep);
    file.append({ next: true });
    file.close();
  };
  // Some megabytes, so that lines and characters lie across the pieces that are read.
  const many = Array.from({ length: 30_000 }, (_, i) => line(i + 1));

  it('are read as they were written, whole lines alone', async () => {
    const path = write(many, '{"role":"student","st');
    expect(statSync(path).size).toBeGreaterThan(3 * 2 ** 20);
    expect(await read(path)).toEqual(many);
    expect(await read(join(root, 'none.jsonl'))).toEqual([]);
    appendFileSync(path, '\n[1]\nnull\n7\n{"last":1}');
    expect((await read(path)).slice(many.length)).toEqual([{ last: 1 }]);
  });

  it.each([29_999, 30_000, 12_345, 1])('are cut after step %i, which stays', async (step) => {
    const path = write(many, '{"role":"student","step":1');
    cut(path, (one) => Number(one.step) <= step);
    expect(await read(path)).toEqual([...many.slice(0, step), { next: true }]);
  });

  it('keep a last line that has lost its end alone', async () => {
    const path = write([line(1)], JSON.stringify(line(2)));
    cut(path, () => true);
    expect(await read(path)).toEqual([line(1), line(2), { next: true }]);
  });

  it('are empty where no step is kept, or there was none', async () => {
    const path = write(many, 'x'.repeat(3 * 2 ** 20));
    cut(path, () => false);
    expect(readFileSync(path, 'utf8')).toBe('{"next":true}\n');
    rmSync(path);
    cut(path, () => true);
    expect(await read(path)).toEqual([{ next: true }]);
  });
});
