import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createModel } from '../../deit/models/registry.ts';
import { saveModel } from '../../deit/train/node/checkpoint.ts';
import { createEngine, readSafetensors, writeSafetensors } from '../../engine/node.ts';
import { bundled } from '../../bench/bundled.ts';
import { ran } from '../support/command.ts';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'deit-study-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A study file of one's own. */
function studyFile(name: string, content: object): string {
  const path = join(root, `${name}.json`);
  writeFileSync(path, JSON.stringify({ about: 'two ways', ...content }));
  return path;
}
const TINY = 'deit_tiny_patch16_224 img_size=32 patch_size=16 depth=1 embed_dim=24';
const SMALL = ['--students', TINY, '--steps', '4', '--set', 'run.checkpointEvery=1', '--set', 'data.batchSize=8'];
const twoRows = (): string =>
  studyFile('two', {
    settings: { 'distillation.type': 'none' },
    rows: [
      { name: 'as it is', token: false },
      { name: 'mixed', token: false, settings: { 'augment.mixup': 0.8 } },
    ],
    baseline: { row: 'as it is' },
  });
const taught = (): string =>
  studyFile('taught', { rows: [{ name: 'taught', settings: { 'distillation.type': 'hard' } }] });

/** Weights of a RegNetY that is not the recipe's teacher, which say what they are of. */
async function savedTeacher(): Promise<string> {
  const path = join(root, 'teacher.safetensors');
  const model = 'regnety_002 w0=8 wa=8 wm=2.0 depth=2 group_width=8 stem_stride=1 num_classes=10';
  const classes = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
  const engine = await createEngine();
  const card = { model, classes, imageSize: 32, cropPct: 1, interpolation: 'bicubic', data: 'CIFAR-10' } as const;
  await saveModel(path, createModel(engine, model), card);
  engine.close();
  return path;
}
const record = (output: string, name: string) =>
  JSON.parse(readFileSync(join(output, name, 'study.json'), 'utf8')) as {
    runs: { label: string; seed: number; state: string; problem: string | null; folder: string }[];
    results: object;
  };
const weights = (output: string): [string, string][] =>
  readdirSync(join(output, 'runs'))
    .sort()
    .map((run) => [run, readFileSync(join(output, 'runs', run, 'student.safetensors'), 'hex')]);

describe('deit study', () => {
  it('says everything that is wrong before the first step, and begins nothing', async () => {
    const output = join(root, 'nothing');
    const refused = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await ran('study', ...args, '--output', output);
      expect({ code, out }).toEqual({ code: 1, out: '' });
      expect(existsSync(output)).toBe(false);
      return err;
    };
    expect(await refused('distilation')).toMatch(/no study of this name.*did you mean distillation/s);
    expect(await refused()).toContain('Which study?');
    const many = await refused(twoRows(), ...SMALL, '--rows', 'as it was,mixed', '--seeds', '0,x', '--teachers', 'regnety_02'); // prettier-ignore
    expect(many).toMatch(/no row "as it was" \(did you mean "as it is"\?.*--seeds.*regnety_02/s);
    expect(await refused(twoRows(), ...SMALL, '--seeds', '')).toContain('--seeds takes');
    expect(await refused(twoRows(), ...SMALL, '--seeds', '1,1')).toContain('same seed twice');
    expect(await refused(twoRows(), ...SMALL, '--data', join(root, 'absent'))).toContain('no data set');
    // Weights of a model that they do not name, which is not the recipe's.
    const nameless = join(root, 'nameless.safetensors');
    await writeSafetensors(nameless, (await readSafetensors(await savedTeacher())).tensors);
    expect(await refused(taught(), ...SMALL, '--teachers', nameless)).toMatch(/taught: .*do not fit the model\.\n *at: \S+nameless.safetensors\n *found: 81 missing: s2\.b2\.conv1\S+(, \S+){7} and 73 more\n/); // prettier-ignore
    // The DeiT-Ti that ships knows ImageNet's classes, and CIFAR-10 has others.
    expect(await refused(taught(), ...SMALL, '--teachers', 'shipped')).toMatch(/taught: .*classes/s);
    expect(await refused(twoRows(), ...SMALL, '--memory', '100KB')).toMatch(/as it is: .*does not fit/s);
  }, 600_000);

  it('takes the model of a teacher from its weights', async () => {
    const output = join(root, 'taught');
    const { code, err } = await ran('study', taught(), ...SMALL, '--steps', '1', '--seeds', '0', '--teachers', await savedTeacher(), '--weak-teachers', '--output', output); // prettier-ignore
    expect({ code, err }).toMatchObject({ code: 0 });
    const [{ folder }] = record(output, 'taught').runs;
    const { recipe } = JSON.parse(readFileSync(join(output, 'runs', folder, 'config.json'), 'utf8')) as { recipe: { teacher: { model: string } } }; // prettier-ignore
    expect(recipe.teacher.model).toContain('w0=8 wa=8');
  }, 600_000);

  it('killed and gone on with, is to the bit what it would have been, and shares runs with other studies', async () => {
    const [whole, broken] = [join(root, 'whole'), join(root, 'broken')];
    const args = (output: string) => ['study', twoRows(), ...SMALL, '--seeds', '0,1', '--output', output];
    const unbroken = await ran(...args(whole));
    expect(unbroken.err).toContain('4 runs, 0 of them done before');
    expect(unbroken.code).toBe(0);
    expect(unbroken.out).toMatch(/as it is +\S+ ± \S+ % \(2\) +compared with/);

    const child = spawn(process.execPath, [await bundled('deit/cli/main.ts'), ...args(broken)], { stdio: 'ignore' }); // prettier-ignore
    const ended = new Promise((resolve) => child.on('exit', resolve));
    // In the second run, after its first checkpoint.
    const isUnderWay = (): boolean => {
      const runs = existsSync(join(broken, 'runs')) ? readdirSync(join(broken, 'runs')) : [];
      const saved = (run: string): boolean => existsSync(join(broken, 'runs', run, 'checkpoints')) && readdirSync(join(broken, 'runs', run, 'checkpoints')).some((name) => name.endsWith('.safetensors')); // prettier-ignore
      return runs.length > 1 && runs.some((run) => !existsSync(join(broken, 'runs', run, 'result.json')) && saved(run));
    };
    while (!isUnderWay() && child.exitCode === null) await wait(20);
    child.kill('SIGKILL');
    await ended;
    expect(record(broken, 'two').runs.filter(({ state }) => state === 'done')).toHaveLength(1);
    const again = await ran(...args(broken));
    expect(again.code).toBe(1);
    expect(again.err).toContain('There is a study in this folder already');
    const other = await ran(...args(broken), '--resume', '--set', 'optim.lr=1e-4');
    expect(other.err).toMatch(/keeps what it was begun with.*the recipe/s);

    const resumed = await ran('study', '--resume', join(broken, 'two'));
    expect(resumed.code).toBe(0);
    expect(resumed.err).toContain('4 runs, 1 of them done before');
    expect(weights(broken)).toEqual(weights(whole));
    expect(record(broken, 'two').results).toEqual(record(whole, 'two').results);
    for (const name of ['table.csv', 'index.html', 'table.md'])
      expect(existsSync(join(broken, 'two', name))).toBe(true);
    expect(readFileSync(join(broken, 'two', 'table.csv'), 'utf8')).toBe(readFileSync(join(whole, 'two', 'table.csv'), 'utf8')); // prettier-ignore

    // Another study with one of its rows, and one that cannot be trained.
    const third = studyFile('third', {
      settings: { 'distillation.type': 'none' },
      rows: [
        { name: 'diverging', token: false, settings: { 'optim.lr': 1e6, 'optim.clip': null, 'schedule.warmupEpochs': 0 } },
        { name: 'the same', token: false },
      ],
      baseline: { row: 'the same' },
    }); // prettier-ignore
    const { code, err } = await ran('study', third, ...SMALL, '--seeds', '1', '--output', whole);
    expect(err).toContain('2 runs, 1 of them done before');
    expect(code).toBe(1);
    const { runs } = record(whole, 'third');
    expect(runs.map(({ label, state }) => `${label} ${state}`)).toEqual(['diverging failed', 'the same done']);
    expect(runs[0].problem).toContain('NaN or infinity');
  }, 600_000);

  it('refuses a teacher that has nothing to teach, unless told to go on, and shows the rest', async () => {
    const output = join(root, 'weak');
    const file = studyFile('weak', {
      settings: { 'distillation.type': 'none' },
      rows: [
        { name: 'plain', token: false },
        { name: 'taught', token: true, settings: { 'distillation.type': 'hard' } },
      ],
      baseline: { row: 'plain' },
    });
    // With a learning rate of 0 the teacher stays at chance; so does the student, and it is no better.
    const args = ['study', file, ...SMALL, '--seeds', '0', '--teachers', `${TINY} num_heads=2`, '--set', 'optim.lr=0', '--output', output]; // prettier-ignore
    const { code, err } = await ran(...args);
    expect(code).toBe(1);
    expect(err).toMatch(/its teacher, .* of the held-out images, no more than the .*--weak-teachers goes on/s);
    expect(record(output, 'weak').runs.map(({ state }) => state)).toEqual(['done', 'done', 'refused']);
    const on = await ran('study', '--resume', join(output, 'weak'), '--weak-teachers');
    expect(on.code).toBe(0);
    expect(record(output, 'weak').runs.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
    expect(on.err).toContain('page: ');
    expect(readFileSync(join(output, 'weak', 'table.md'), 'utf8')).toContain('no better than its student');
  }, 600_000);

  it('lists what there is, and estimates without running', async () => {
    const { out } = await ran('study', '--list');
    for (const name of ['ablation', 'disagreement', 'distillation', 'epochs', 'teachers', 'transfer']) expect(out).toMatch(new RegExp(`^${name} `, 'm')); // prettier-ignore
    const output = join(root, 'dry');
    const dry = await ran('study', twoRows(), ...SMALL, '--seeds', '0,1', '--dry-run', '--json', '--output', output);
    expect(existsSync(output)).toBe(false);
    const found = JSON.parse(dry.out) as {
      runs: { steps: number; memory: number; seconds: number }[];
      seconds: number;
    };
    expect(found.runs).toHaveLength(4);
    for (const run of found.runs) {
      expect(run.steps).toBe(4);
      expect(run.memory).toBeGreaterThan(1e5);
      expect(run.seconds).toBeGreaterThan(0);
    }
    expect(found.seconds).toBeCloseTo(
      found.runs.reduce((sum, { seconds }) => sum + seconds, 0),
      6,
    );
  }, 600_000);
});
