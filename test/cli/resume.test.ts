import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRun } from '../../deit/cli/open-run.ts';
import type { OpenedRun } from '../../deit/cli/open-run.ts';
import type { TrainOptions } from '../../deit/cli/recipe-options.ts';
import { readRun } from '../../deit/report/node/run-files.ts';
import { DeitError } from '../../engine/node.ts';
import { deit, lastJson, ran } from '../support/command.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-resume-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const opened = async (options: Partial<TrainOptions>): Promise<OpenedRun> => {
  const run = await openRun({ set: [], ...options });
  if ('folder' in run) run.folder.close();
  return run;
};
let runs = 0;
/** A run that was begun with some settings. */
async function begun(options: Partial<TrainOptions> = {}): Promise<string> {
  const output = join(root, `run ${runs++}`);
  await opened({ steps: '40', seed: '7', data: 'photos', output, ...options });
  return output;
}
const result = {
  accuracy: { teacher: null, class: 0.5, distillation: null, average: 0.5 },
  ema: null,
  steps: 40,
  seconds: 12,
  imagesPerSecond: 100,
  dataWait: 0.1,
  adapter: 'some adapter',
  runFolder: 'where it was once',
};
const finish = (run: string): void => writeFileSync(join(run, 'result.json'), JSON.stringify(result));

describe('a resumed run', () => {
  it.each([
    [{ epochs: '20' }, 'schedule.epochs is 30, not 20'],
    [{ steps: '41' }, 'schedule.steps is 40, not 41'],
    [{ minutes: '9' }, 'schedule.minutes is null, not 9'],
    [{ seed: '8' }, 'run.seed is 7, not 8'],
    [{ recipe: 'deit-ti-imagenet' }, 'data.batchSize is 32, not 1024'],
    [{ set: ['optim.lr=1', 'run.keep=3'] }, 'optim.lr is 0.001, not 1; run.keep is 2, not 3'],
  ])('refuses %o, and says what differs', async (options, told) => {
    const run = await begun();
    const asked = opened({ resume: run, ...options });
    await expect(asked).rejects.toMatchObject({ code: 'bad-config' });
    await expect(asked).rejects.toThrow(told);
    await expect(asked).rejects.toThrow(`deit train --resume '${run}'`);
    expect(readdirSync(run).sort()).toEqual(['config.json', 'metrics.jsonl']);
  });

  it('takes options that say what it has', async () => {
    const run = await begun();
    const same = { steps: '40', seed: '7', data: 'photos', set: ['optim.lr=1e-3'] };
    expect(await opened({ resume: run, ...same })).toMatchObject({ resume: true, name: 'quick-demo' });
    expect(await opened({ resume: run, output: `${run}/` })).toMatchObject({ resume: true });
    await expect(opened({ resume: run, output: root })).rejects.toThrow('stays in its folder');
  });

  it('is with `auto` the whole command that began it', async () => {
    const output = join(root, 'auto');
    const command = { resume: 'auto', output, steps: '3', set: ['optim.lr=2e-3'] };
    expect(await opened(command)).toMatchObject({ resume: false });
    expect(await opened(command)).toMatchObject({ resume: true });
    await expect(opened({ ...command, set: [] })).rejects.toThrow('optim.lr is 0.002, not 0.001');
  });

  it('that is finished says so, gives its result and is not trained again', async () => {
    const run = await begun();
    finish(run);
    const before = readdirSync(run);
    const { err, out } = await deit('train', '--resume', run, '--json');
    expect(err).toContain('this run is finished');
    expect(err).toMatch(/class head +50\.0 %/);
    // Results of version 0.1.0 tell of no best weights and no parts of loading.
    expect(lastJson(out)).toEqual({ ...result, best: null, loading: null, ranks: null, runFolder: run });
    expect(readdirSync(run)).toEqual(before);
    await expect(opened({ resume: run, epochs: '20' })).rejects.toThrow('schedule.epochs');
    const photos = join(process.cwd(), 'photos');
    await expect(opened({ resume: run, data: 'others' })).rejects.toThrow(
      `data.path is ${JSON.stringify(photos)}, not`,
    );
  });
});

describe('files of a run', () => {
  const wrong = ['', '{"name": "x", "rec', 'null', '[]', '7', '{}', '{"recipe": null}'];
  it.each(['config.json', 'result.json'])('%s, damaged, is named on resume and in reports', async (name) => {
    const run = await begun();
    finish(run);
    for (const text of wrong) {
      writeFileSync(join(run, name), text);
      for (const args of [
        ['train', '--resume', run],
        ['report', run],
        ['compare', run, run],
      ]) {
        // prettier-ignore
        const { code, err } = await ran(...args);
        expect([code, err]).toEqual([1, expect.stringContaining('[file-corrupt] A file of the run')]);
        expect(err).toContain(join(run, name));
        expect(err).not.toMatch(/^ +at .*\.ts:/m);
      }
    }
  });

  it.each(['analysis.json', 'adapter.json'])('%s, damaged, is named in reports', async (name) => {
    const run = await begun();
    for (const text of wrong) {
      writeFileSync(join(run, name), text);
      await expect(readRun(run)).rejects.toThrow(join(run, name));
    }
  });

  it('of any other content are named too, whatever is at whatever key', async () => {
    const run = await begun();
    const config = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8')) as Record<string, unknown>;
    const key = fc.constantFrom(...Object.keys(config));
    await fc.assert(
      fc.asyncProperty(key, fc.jsonValue(), async (name, value) => {
        writeFileSync(join(run, 'config.json'), JSON.stringify({ ...config, [name]: value }));
        const read = await opened({ resume: run }).then(
          () => null,
          (error: unknown) => error,
        );
        if (read !== null) expect(read).toBeInstanceOf(DeitError);
        await readRun(run).catch((error: unknown) => expect(error).toBeInstanceOf(DeitError));
      }),
      { numRuns: 200 },
    );
  });
});

describe('a start that fails', () => {
  it('leaves no folder, not even those above it that were made for it', async () => {
    const output = join(root, 'a', 'b', 'run');
    const { code, err } = await ran('train', '--data', join(root, 'nowhere'), '--output', output);
    expect([code, err]).toEqual([1, expect.stringContaining('There is no data set at this path')]);
    expect(existsSync(join(root, 'a'))).toBe(false);
  });

  it('leaves a folder that was there, empty', async () => {
    const output = join(root, 'mine');
    mkdirSync(output);
    const { code } = await ran('train', '--data', join(root, 'nowhere'), '--output', output);
    expect([code, readdirSync(output)]).toEqual([1, []]);
  });

  it('is named where the recipe is a folder', async () => {
    const { code, err } = await ran('train', '--recipe', root);
    expect([code, err]).toEqual([1, expect.stringMatching(/\[file-unreadable\] The recipe cannot be read[^]*EISDIR/)]);
  });
});
