import type * as FsPromises from 'node:fs/promises';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { writeFileAtomically } from '../../engine/node.ts';

/** Calls of the file system, in order, with the last part of the path. */
const calls = vi.hoisted(() => [] as string[]);
/** A call that is to fail, as a full or broken disk has it. */
const failing = vi.hoisted(() => ({ call: '' }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FsPromises>();
  const note = (call: string, ...paths: unknown[]): void => {
    // The number of the process is in the names of temporary files.
    const names = paths.map((path) => basename(String(path)).replace(/\.\d+\.tmp$/, '.N.tmp'));
    calls.push([call, ...names].join(' '));
    if (call === failing.call) throw new Error(`${call} failed`);
  };
  const open: typeof real.open = async (path, ...rest) => {
    const file = await real.open(path, ...rest);
    for (const call of ['write', 'sync', 'close'] as const) {
      const own = file[call].bind(file) as (...args: unknown[]) => unknown;
      Object.assign(file, {
        [call]: async (...args: unknown[]) => {
          const result = await own(...args);
          note(call, path);
          return result;
        },
      });
    }
    return file;
  };
  const rename: typeof real.rename = async (from, to) => {
    note('rename', from, to);
    return real.rename(from, to);
  };
  return { ...real, open, rename };
});

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-atomic-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pieces = [Buffer.from('one '), Buffer.from('two')];

it('is on the disk before it has its name, and the name before the writing is over', async () => {
  calls.length = 0;
  await writeFileAtomically(join(folder, 'state'), pieces);
  const name = basename(folder);
  expect(calls).toEqual([
    'write state.N.tmp',
    'write state.N.tmp',
    'sync state.N.tmp',
    'close state.N.tmp',
    'rename state.N.tmp state',
    `sync ${name}`,
    `close ${name}`,
  ]);
  expect(readFileSync(join(folder, 'state'), 'utf8')).toBe('one two');
});

it.each(['write', 'sync', 'rename'])('keeps the old file and nothing else where %s fails', async (call) => {
  const path = join(folder, 'kept');
  writeFileSync(path, 'old');
  failing.call = call;
  await expect(writeFileAtomically(path, pieces)).rejects.toMatchObject({ code: 'file-unwritable' });
  failing.call = '';
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});
