/** That a run goes on only over what it was trained on: data, lists, start weights, teacher; or over others where it is told to. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openData } from '../../deit/data/node/index.ts';
import { DataListing } from '../../deit/train/node/data-listing.ts';
import { listingChanges } from '../../deit/train/node/listing-changes.ts';
import { readSafetensorsFile, writeSafetensors } from '../../engine/node.ts';
import { ran } from '../support/command.ts';
import { integers } from '../support/generator.ts';
import { SMALL_RUN } from '../support/small-run.ts';

const STUDENT = 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=16 embed_dim=12 depth=1 num_heads=1';
const RECIPE = {
  ...SMALL_RUN,
  'model.name': STUDENT,
  'model.dropPath': 0,
  'data.valFraction': 0.25,
  'data.batchSize': 4,
  'augment.mixup': 0,
  'augment.cutmix': 0,
  'schedule.steps': 4,
  'run.checkpointEvery': 2,
};
const TEACHER = 'regnety_002 w0=8 wa=8 wm=2.0 depth=2 group_width=8';
const CLASSES = ['a', 'b'];
const EACH = 8;
let folder = '';
const path = (...parts: string[]): string => join(folder, ...parts);

const train = (...options: string[]) => ran('train', ...options);
const begin = (run: string, ...options: string[]) =>
  train('--recipe', path('recipe.json'), '--output', path(run), ...options);
const picture = (seed: string, side: number): Promise<Buffer> => {
  const data = Uint8Array.from(integers(seed, side * side * 3, 256));
  return sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toBuffer();
};

/** A copy of a finished run as one that was killed after its second step. */
function killed(run: string): string {
  const copy = path(`${run}-killed`);
  rmSync(copy, { recursive: true, force: true });
  cpSync(path(run), copy, { recursive: true });
  for (const name of ['result.json', 'student.safetensors']) rmSync(join(copy, name));
  return copy;
}

const filesOf = (run: string): string[] => (readdirSync(run, { recursive: true }) as string[]).sort();

/** Resumes a killed run, which is refused, with these words; nothing of it is touched. */
async function expectRefusal(run: string, told: string | RegExp, ...options: string[]): Promise<void> {
  const before = filesOf(run).map((name) => [
    name,
    name.endsWith('.jsonl') ? readFileSync(join(run, name), 'utf8') : '',
  ]);
  const { code, err } = await train('--resume', run, ...options);
  expect(err).toMatch(told);
  expect(code).toBe(1);
  expect(err).not.toMatch(/^ +at .*\.ts:/m);
  const after = filesOf(run).map((name) => [
    name,
    name.endsWith('.jsonl') ? readFileSync(join(run, name), 'utf8') : '',
  ]);
  expect(after).toEqual(before);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-changed-'));
  let list = '';
  for (const name of CLASSES) {
    mkdirSync(path('master', name), { recursive: true });
    for (let i = 0; i < EACH; i++) {
      writeFileSync(path('master', name, `${i}.png`), await picture(`${name}${i}`, 24 + i));
      list += `${name}/${i}.png\t${name}\n`;
    }
  }
  writeFileSync(path('master', 'list.txt'), list);
  writeFileSync(path('recipe.json'), JSON.stringify(RECIPE));
  fresh();
  // Models to start from and to learn from, and others to put in their places.
  expect((await begin('start', '--data', path('data'))).code).toBe(0);
  expect((await begin('teacher', '--data', path('data'), '--set', `model.name=${TEACHER}`)).code).toBe(0);
  for (const name of ['start', 'teacher']) {
    cpSync(path(name, 'student.safetensors'), path(`${name}.safetensors`));
    const { tensors, metadata } = await readSafetensorsFile(path(`${name}.safetensors`));
    await writeSafetensors(
      path(`${name}-other.safetensors`),
      tensors,
      new Map([...metadata, ['note', 'another file']]),
    );
  }
  const given = ['--set', 'distillation.type=hard', '--set', `teacher.weights=${path('teacher.safetensors')}`];
  const start = ['--set', `model.weights=${path('start.safetensors')}`];
  expect((await begin('run', '--data', path('data'), ...given, ...start)).code).toBe(0);
  const own = ['--set', 'distillation.type=hard', '--set', `teacher.model=${TEACHER}`];
  expect((await begin('listed', '--data', path('data', 'list.txt'), ...own)).code).toBe(0);
}, 120_000);
afterEach(() => fresh());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The data as it was. */
function fresh(): void {
  rmSync(path('data'), { recursive: true, force: true });
  cpSync(path('master'), path('data'), { recursive: true });
}

const ALLOWED = '--allow-changed-data';

describe('a resumed run', () => {
  it('goes on over the same data, wherever that has been moved, and remembers where', async () => {
    const run = killed('run');
    renameSync(path('data'), path('elsewhere'));
    const other = ['--data', path('elsewhere')];
    const { code, err } = await train('--resume', run, ...other);
    expect([code, err]).toEqual([0, expect.stringContaining('resuming the student after step 2 of 4')]);
    const result = readFileSync(join(run, 'metrics.jsonl'), 'utf8');
    // Bits of the run that was not interrupted.
    const losses = (text: string): unknown[] =>
      text
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { loss: unknown }).loss);
    expect(losses(result)).toEqual(losses(readFileSync(path('run', 'metrics.jsonl'), 'utf8')));
    const { recipe } = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8')) as {
      recipe: { data: { path: string } };
    };
    expect(recipe.data.path).toBe(path('elsewhere'));
    rmSync(path('elsewhere'), { recursive: true });
  });

  it('is refused over data that lacks images, and goes on where that is allowed', async () => {
    const run = killed('run');
    for (const name of ['0', '1', '2', '3']) rmSync(path('data', 'a', `${name}.png`));
    await expectRefusal(
      run,
      /\[bad-data\] What the run is trained on has changed[^]*4 images removed \(a\/\d\.png; a\/\d\.png; a\/\d\.png; \.\.\.\)/,
    );
    const { code, err } = await train('--resume', run, ALLOWED);
    expect([code, err]).toEqual([0, expect.stringContaining('gone on over as allowed: 4 images removed')]);
  });

  it('is refused over an image of another size, one more, and one of another name', async () => {
    const run = killed('run');
    const before = readFileSync(path('data', 'a', '5.png')).length;
    const other = await picture('other', 40);
    writeFileSync(path('data', 'a', '5.png'), other);
    await expectRefusal(run, `1 image of another size (a/5.png: ${before} bytes before, ${other.length} bytes now)`);
    fresh();
    renameSync(path('data', 'b', '3.png'), path('data', 'b', '3x.png'));
    await expectRefusal(run, '1 image renamed (b/3.png is b/3x.png)');
    fresh();
    writeFileSync(path('data', 'b', '99.png'), other);
    await expectRefusal(run, '1 image added (b/99.png)');
  });

  it('is refused over classes of other names, and takes them in their order where that is allowed', async () => {
    const run = killed('run');
    renameSync(path('data', 'a'), path('data', 'z'));
    await expectRefusal(run, /\[class-mismatch\]/);
    const { code, err } = await train('--resume', run, ALLOWED);
    // Also under a teacher whose file has the former names.
    expect(code).toBe(0);
    expect(err).toContain('2 classes of another name ("b" where "a" was; "z" where "b" was)');
  });

  it('is refused over a list with a line changed, or in another order, by which others are held out', async () => {
    const run = killed('listed');
    const lines = readFileSync(path('data', 'list.txt'), 'utf8').trim().split('\n');
    writeFileSync(path('data', 'list.txt'), lines.map((line) => line.replace('a/2.png\ta', 'a/2.png\tb')).join('\n'));
    await expectRefusal(run, /image of another class \(a\/2\.png: class 0 before, 1 now\)|images in another part/);
    writeFileSync(path('data', 'list.txt'), lines.toReversed().join('\n'));
    await expectRefusal(run, /images in another part/);
    // What means the same is the same.
    writeFileSync(path('data', 'list.txt'), `# a comment\n${lines.join('\r\n')}\n`);
    expect((await train('--resume', run)).code).toBe(0);
  });

  it.each(['teacher', 'start'])('is refused under another file of %s weights', async (name) => {
    const run = killed('run');
    const file = path(`${name}.safetensors`);
    const was = readFileSync(file);
    cpSync(path(`${name}-other.safetensors`), file);
    const told = name === 'start' ? 'start weights' : name;
    await expectRefusal(
      run,
      new RegExp(`${told}: .*${name}\\.safetensors with ${was.length} bytes and SHA-256 \\w+\\.\\.\\. before, .* now`),
    );
    writeFileSync(file, was);
  });

  it('does without the weights that it started from, once its student has begun', async () => {
    const run = killed('run');
    renameSync(path('start.safetensors'), path('gone.safetensors'));
    const { code, err } = await train('--resume', run);
    renameSync(path('gone.safetensors'), path('start.safetensors'));
    expect([code, err]).toEqual([0, expect.stringContaining('is not there any more')]);
  });

  it('is refused under another teacher than it has trained, and under one that is damaged or lost', async () => {
    const run = killed('listed');
    const file = join(run, 'teacher.safetensors');
    const whole = readFileSync(file);
    cpSync(path('teacher-other.safetensors'), file);
    await expectRefusal(run, /teacher: .* before, .*teacher\.safetensors with .* now/);
    writeFileSync(file, whole.with(whole.length - 1, whole[whole.length - 1] ^ 1));
    await expectRefusal(
      run,
      /\[file-corrupt\] The run's teacher cannot be read[^]*checksum[^]*restore the file from a copy/,
    );
    truncateSync(file, 100);
    await expectRefusal(run, /\[file-corrupt\] The run's teacher cannot be read/);
    rmSync(file);
    await expectRefusal(run, /\[file-unreadable\] The run's teacher cannot be read/);
    writeFileSync(file, whole);
    expect((await train('--resume', run)).code).toBe(0);
  });

  it('knows that the data has changed without its listing too, and goes on without where it has not', async () => {
    const run = killed('run');
    const listing = readdirSync(run).find((name) => name.startsWith('data-'))!;
    rmSync(path('data', 'a', '0.png'));
    truncateSync(join(run, listing), 30);
    await expectRefusal(run, /the data is not the same; what has changed cannot be told without the listing/);
    rmSync(join(run, listing));
    await expectRefusal(run, /the data is not the same; what has changed cannot be told without the listing/);
    fresh();
    expect((await train('--resume', run)).code).toBe(0);
    expect(readdirSync(run)).toContain(listing);
  });

  it('of an earlier version says that there is nothing to compare with', async () => {
    const run = killed('run');
    for (const name of readdirSync(join(run, 'checkpoints'))) {
      const file = join(run, 'checkpoints', name);
      const { tensors, metadata } = await readSafetensorsFile(file);
      await writeSafetensors(file, tensors, new Map([...metadata].filter(([key]) => key !== 'deit-webgpu-inputs')));
    }
    cpSync(path('data'), path('copy'), { recursive: true });
    await expectRefusal(run, /\[bad-config\] A resumed run keeps its recipe[^]*data\.path is/, '--data', path('copy'));
    rmSync(path('data', 'a', '0.png'));
    const { code, err } = await train('--resume', run);
    expect([code, err]).toEqual([0, expect.stringContaining('going on without a comparison')]);
  });
});

it('allowing changes is for runs that go on', async () => {
  const { code, err } = await begin('new', '--data', path('data'), ALLOWED);
  expect([code, err]).toEqual([1, expect.stringContaining('--allow-changed-data is for a run that goes on')]);
});

it('binary files are compared by their labels and pixels', async () => {
  const record = 1 + 32 * 32 * 3;
  const bytes = Buffer.from(integers('cifar', 40 * record, 256));
  for (let i = 0; i < 40; i++) bytes[i * record] = i % 10;
  const listed = async (content: Uint8Array): Promise<DataListing> => {
    const data = mkdtempSync(path('cifar-'));
    writeFileSync(join(data, 'data_batch_1.bin'), content);
    writeFileSync(join(data, 'test_batch.bin'), bytes);
    const { train, val: validation } = await openData(data);
    return DataListing.of({ train, validation });
  };
  const run = mkdtempSync(path('cifar-run-'));
  const before = await listed(bytes);
  await before.keep(run);
  expect(await (await listed(bytes)).changesSince(before.sha256, run)).toEqual([]);
  const fewer = await listed(bytes.subarray(0, 30 * record));
  expect(await fewer.changesSince(before.sha256, run)).toEqual(['train: 40 images in binary files before, 30 now']);
  bytes[0] = 1;
  const other = await listed(bytes);
  expect(await other.changesSince(before.sha256, run)).toContain('train: 40 images with other pixels or labels');
});

describe('changes of a listing', () => {
  const listing = (...lines: unknown[]): string[] => lines.map((line) => `${JSON.stringify(line)}\n`);
  const classes = ['classes', 'cat', 'dog'];
  const names = (part: string, label: number, kind: string, count: number): unknown[] =>
    Array.from({ length: count }, (_, i) => [part, label, 100 + i, `${kind}/${i}.jpg`]);

  it('are none in a listing cut anywhere', async () => {
    const text = listing(classes, ...names('train', 0, 'cat\u2028\n', 3)).join('');
    expect(await listingChanges([text], text)).toEqual([]);
  });

  it('name a renamed class folder as such, whole', async () => {
    const before = listing(classes, ...names('train', 0, 'cat', 5), ...names('train', 1, 'dog', 5));
    const after = listing(
      ['classes', 'dog', 'kitty'],
      ...names('train', 0, 'dog', 5),
      ...names('train', 1, 'kitty', 5),
    );
    expect(await listingChanges(before, after)).toEqual([
      '2 classes of another name ("dog" where "cat" was; "kitty" where "dog" was)',
      '5 images renamed (cat/0.jpg is kitty/0.jpg; cat/1.jpg is kitty/1.jpg; cat/2.jpg is kitty/2.jpg; ...)',
      '5 images of another class (dog/0.jpg: class 1 before, 0 now; dog/1.jpg: class 1 before, 0 now; dog/2.jpg: class 1 before, 0 now; ...)',
    ]);
  });

  it('tell another order where nothing else is another', async () => {
    const [first, ...others] = names('train', 0, 'cat', 3);
    const [before, after] = [listing(classes, first, ...others), listing(classes, ...others, first)];
    expect(await listingChanges(before, after)).toEqual(['the images are in another order']);
  });

  it('tell held-out images that have become training images', async () => {
    const before = listing(classes, ['train', 0, 1, 'x'], ['val', 0, 2, 'y']);
    const after = listing(classes, ['train', 0, 2, 'y'], ['val', 0, 1, 'x']);
    expect(await listingChanges(before, after)).toEqual([
      '2 images in another part (y: val before, train now; x: train before, val now)',
    ]);
  });
});
