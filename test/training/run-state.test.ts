import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type * as FsPromises from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { RunFolder } from '../../deit/train/node/run-folder.ts';
import { latestCheckpoint, listCheckpoints, saveCheckpoint } from '../../deit/train/node/run-state.ts';
import type { Position, Trained } from '../../deit/train/node/run-state.ts';
import { createEngine, readSafetensorsFile } from '../../engine/node.ts';
import type { Engine, DeitError } from '../../engine/node.ts';
import { AdamW, Ema, Linear, decayGroups } from '../../nn/index.ts';

/** Files and folders that were flushed to the disk. */
const flushed = vi.hoisted(() => [] as string[]);
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FsPromises>();
  const open: typeof real.open = async (...args) => {
    const file = await real.open(...args);
    const sync = file.sync.bind(file);
    file.sync = () => {
      flushed.push(String(args[0]));
      return sync();
    };
    return file;
  };
  return { ...real, open };
});

let root = '';
let engine: Engine;
let trained: Trained;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'deit-state-'));
  engine = await createEngine();
  const model = new Linear(engine, 3, 2);
  trained = { model, optimizer: new AdamW(decayGroups(model.namedParameters(), 0.05)), ema: null };
});
afterAll(() => {
  engine.close();
  rmSync(root, { recursive: true, force: true });
});

const newRun = (): string => mkdtempSync(join(root, 'run-'));
const at = (step: number, role: Position['role'] = 'student'): Position => ({ role, step, steps: 100, seconds: 1.5 });
const save = (run: string, position: Position, keep = 2): Promise<string> =>
  saveCheckpoint(run, keep, position, trained, engine.variants.export());
const silent = (): void => undefined;

describe('checkpoints', () => {
  it('are read where they were written, wherever a run may stand', async () => {
    const run = newRun();
    const steps = fc.integer({ min: 1, max: 9e9 });
    const position = fc
      .record({
        role: fc.constantFrom('teacher' as const, 'student' as const),
        steps,
        part: fc.double({ min: 0, max: 1, noNaN: true }),
        seconds: fc.double({ min: 0, max: 1e9, noNaN: true }).map((s) => s + 0),
      })
      .map(({ part, ...rest }): Position => ({ ...rest, step: Math.floor(part * rest.steps) }));
    await fc.assert(
      fc.asyncProperty(position, async (written) => {
        const path = await save(run, written);
        const read = await latestCheckpoint(run, silent);
        expect(read?.path).toBe(path);
        expect(read?.position).toEqual(written);
        rmSync(path);
      }),
      { numRuns: 40 },
    );
  });

  it.each([{ step: 14648.4375 }, { steps: Infinity }, { seconds: NaN }, { step: 101 }, { role: 'pupil' }])(
    'are not written where they could not be read: %o',
    async (wrong) => {
      const run = newRun();
      await expect(save(run, { ...at(3), ...wrong } as Position)).rejects.toMatchObject({ code: 'bad-argument' });
      expect(readdirSync(run)).toEqual([]);
    },
  );

  it('are kept in the number asked for, of each role', async () => {
    const run = newRun();
    for (const role of ['teacher', 'student'] as const)
      for (const step of [1, 2, 3, 4]) await save(run, at(step, role), 3);
    const kept = (await listCheckpoints(run)).map(({ role, step }) => `${role} ${step}`);
    expect(kept).toEqual(['student 4', 'student 3', 'student 2', 'teacher 4', 'teacher 3', 'teacher 2']);
  });

  it('fall back to an earlier one, and with none readable nothing begins anew', async () => {
    const run = newRun();
    const [earlier, later] = [await save(run, at(5)), await save(run, at(10))];
    writeFileSync(later, readFileSync(later).subarray(0, 100));
    const damaged: string[] = [];
    const read = await latestCheckpoint(run, (path) => damaged.push(path));
    expect(read?.position.step).toBe(5);
    expect(damaged).toEqual([later]);
    copyFileSync(later, earlier);
    await expect(latestCheckpoint(run, silent)).rejects.toMatchObject({ code: 'file-corrupt' });
    expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([10, 5]);
  });

  it.each(['model/weight', 'optimizer/', 'ema/'])('with one flipped bit in %s are passed over', async (part) => {
    const run = newRun();
    const { model, optimizer } = trained;
    const ema = new Ema(model, optimizer, 0.9);
    const saveAll = (step: number): Promise<string> =>
      saveCheckpoint(run, 2, at(step), { model, optimizer, ema }, engine.variants.export());
    await saveAll(5);
    const later = await saveAll(10);
    const { tensors } = await readSafetensorsFile(later);
    const [, hit] = [...tensors].find(([name, { bytes }]) => name.startsWith(part) && bytes.length > 0)!;
    const file = readFileSync(later);
    // The tensors are views of the data, which ends with the file.
    file[file.length - hit.bytes.buffer.byteLength + hit.bytes.byteOffset] ^= 1;
    writeFileSync(later, file);
    const damaged: string[] = [];
    const read = await latestCheckpoint(run, (path, error) => damaged.push(`${path} ${(error as DeitError).code}`));
    expect(read?.position.step).toBe(5);
    expect(damaged).toEqual([`${later} file-corrupt`]);
    ema.free();
  });

  it('are none where a run has not come so far, and an error where their folder cannot be read', async () => {
    const run = newRun();
    expect(await latestCheckpoint(run, silent)).toBeNull();
    mkdirSync(join(run, 'checkpoints'));
    expect(await latestCheckpoint(run, silent)).toBeNull();
    rmSync(join(run, 'checkpoints'), { recursive: true });
    writeFileSync(join(run, 'checkpoints'), 'in the way');
    await expect(latestCheckpoint(run, silent)).rejects.toMatchObject({ code: 'file-unreadable' });
  });
});

describe('folders of a run', () => {
  it('are flushed to the disk by those that they are made in, once', async () => {
    const run = newRun();
    flushed.length = 0;
    await save(run, at(1));
    await save(run, at(2));
    expect(flushed.filter((path) => path === run)).toEqual([run]);
    const folder = RunFolder.create('x', join(root, 'a', 'b', 'run'));
    flushed.length = 0;
    await folder.flushFolders();
    folder.close();
    expect(flushed).toEqual([join(root, 'a', 'b'), join(root, 'a'), root]);
  });
});
