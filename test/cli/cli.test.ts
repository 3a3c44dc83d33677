import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseSafetensors, serializeSafetensors, storeElements, storeFloats, toFloat32 } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';
import { bundled } from '../../bench/bundled.ts';
import { summarizeModel } from '../../deit/models/registry.ts';
import { expectClose } from '../support/close.ts';
import { integers, uniform, weight } from '../support/generator.ts';
import { goldenTensors } from '../support/golden.ts';
import { goldenModels, goldenSmoothing, goldenSpec } from '../support/golden-models.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const path = (name: string): string => join(folder, name);

/** Runs `deit` as a user would. */
async function deit(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const program = await bundled('deit/cli/main.ts');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, ...args]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

const lastLine = (out: string): Record<string, unknown> =>
  JSON.parse(out.trim().split('\n').at(-1)!) as Record<string, unknown>;

function write(name: string, tensors: Record<string, StoredTensor>): string {
  writeFileSync(path(name), serializeSafetensors(new Map(Object.entries(tensors))));
  return path(name);
}
const read = (file: string): Map<string, StoredTensor> => parseSafetensors(readFileSync(file)).tensors;

const golden = goldenModels.find(({ key }) => key === 'deit_distilled')!;

describe('deit logits and deit gradients', () => {
  const spec = goldenSpec(golden);
  const files = { weights: '', input: '' };
  beforeAll(() => {
    const { batch, imageSize: side, classes } = golden;
    const parameters = summarizeModel(spec).tensors.map(({ name, shape }): [string, StoredTensor] => [
      name,
      storeFloats(weight(name, shape), shape),
    ]);
    files.weights = write('weights.safetensors', Object.fromEntries(parameters));
    files.input = write('input.safetensors', {
      images: storeFloats(uniform(golden.images, batch * 3 * side * side, 0, 2), [batch, 3, side, side]),
      labels: storeElements('I32', integers(golden.labels, batch, classes), [batch]),
      teacher_logits: storeFloats(uniform(golden.teacher, batch * classes, 0, 3), [batch, classes]),
    });
  });

  it("gives timm's logits, of each head and averaged", async () => {
    const { code, err } = await deit(
      'logits',
      '--model',
      spec,
      '--weights',
      files.weights,
      '--input',
      files.input,
      '--output',
      path('logits'),
    );
    expect(err).toContain('adapter:');
    expect(code).toBe(0);
    const found = read(path('logits'));
    expect([...found.keys()].sort()).toEqual(['logits', 'logits_cls', 'logits_dist']);
    // A dozen f32 layers; PyTorch's own f32 result differs as much from its f64 result.
    expectClose(toFloat32(found.get('logits')!), goldenTensors(golden.file)('eval.logits').values, 2e-6);
  });

  it("gives timm's loss and gradients for hard distillation", async () => {
    const options = ['--distillation', 'hard', '--alpha', '0.5', '--smoothing', String(goldenSmoothing)];
    const { code } = await deit(
      'gradients',
      '--model',
      spec,
      '--weights',
      files.weights,
      '--input',
      files.input,
      '--output',
      path('gradients'),
      ...options,
    );
    expect(code).toBe(0);
    const expected = goldenTensors(golden.file);
    const found = read(path('gradients'));
    expectClose(toFloat32(found.get('loss')!), expected('loss.train.hard').values, 1e-6);
    for (const { name } of summarizeModel(spec).tensors) {
      // Sums over a batch of tokens in f32, through two blocks.
      expectClose(toFloat32(found.get(name)!), expected(`grad.train.hard.${name}`).values, 1e-5, name);
    }
  });

  it('lists every tensor that is missing, unexpected or misshapen', async () => {
    const tensors = Object.fromEntries(read(files.weights));
    delete tensors['norm.bias'];
    tensors['nobody.knows'] = storeFloats(new Float32Array(2), [2]);
    tensors['head.bias'] = storeFloats(new Float32Array(3), [3]);
    const broken = write('broken.safetensors', tensors);
    const { code, err } = await deit(
      'logits',
      '--model',
      spec,
      '--weights',
      broken,
      '--input',
      files.input,
      '--output',
      path('never'),
    );
    expect(code).toBe(1);
    for (const name of ['norm.bias', 'nobody.knows', 'head.bias']) expect(err).toContain(name);
    expect(readdirSync(folder)).not.toContain('never');
  });

  it('says which image size the model takes', async () => {
    const small = write('small.safetensors', { images: storeFloats(new Float32Array(3 * 16), [1, 3, 4, 4]) });
    const { code, err } = await deit(
      'logits',
      '--model',
      spec,
      '--weights',
      files.weights,
      '--input',
      small,
      '--output',
      path('never'),
    );
    expect(code).toBe(1);
    expect(err).toContain(`[B, 3, ${golden.imageSize}, ${golden.imageSize}]`);
  });
});

describe('deit summary', () => {
  it.each([
    ['deit_base_distilled_patch16_384', 87_630_032, 55_591_342_080],
    ['deit_tiny_patch16_224', 5_717_416, 1_253_683_200],
    ['regnety_160', 83_590_140, 15_911_534_044],
  ])("counts %s as the papers' tables do", async (model, parameters, multiplyAdds) => {
    const { code, out } = await deit('summary', model, '--json');
    expect(code).toBe(0);
    expect(lastLine(out)).toMatchObject({ model, parameters, multiplyAdds });
    expect(out).toContain(parameters.toLocaleString('en-US'));
  });
});

describe('deit doctor', () => {
  it('runs a kernel and finds its result right', async () => {
    const { code, out, err } = await deit('doctor', '--json');
    expect(code).toBe(0);
    expect(err).toContain('its result is right');
    expect(lastLine(out)).toMatchObject({ dispatch: { ok: true } });
  });
});

describe('bad input', () => {
  const cases: [string, string[], RegExp][] = [
    ['an unknown device', ['plan', '--device', 'nvidi'], /unknown-name[\s\S]*did you mean nvidia\?/],
    ['an unknown model', ['summary', 'deit_tiny_patch16_242'], /unknown-name[\s\S]*did you mean deit_tiny_patch16_224/],
    ['an unknown model option', ['summary', 'deit_tiny_patch16_224', 'img_sice=32'], /img_size/],
    ['an image size that patches do not divide', ['summary', 'deit_tiny_patch16_224', 'img_size=225'], /multiple/],
    ['an unknown command', ['trian'], /Did you mean train/],
    ['an unknown setting', ['train', '--set', 'optim.Lr=1'], /did you mean "optim.lr"/],
    ['a setting out of range', ['train', '--set', 'augment.mixup=-1', '--set', 'optim.name=adam'], /mixup[\s\S]*adam/],
    ['an unknown recipe', ['train', '--recipe', 'nothing'], /quick-demo/],
    ['a missing data set', ['train', '--data', 'no/such/folder', '--output', 'OUT'], /no\/such\/folder/],
    [
      'another number of classes',
      [
        'train',
        '--set',
        'model.name=deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 num_classes=7',
        '--output',
        'OUT',
      ],
      /leave num_classes out of the model name, or make it 10/,
    ],
    [
      'weights that are not there',
      ['logits', '--model', 'deit_tiny_patch16_224', '--weights', 'none', '--input', 'none', '--output', 'none'],
      /file-unreadable[\s\S]*none/,
    ],
  ];
  it.each(cases)('%s: a clear error and exit code 1', async (name, args, message) => {
    const { code, err, out } = await deit(...args.map((arg) => (arg === 'OUT' ? path(name) : arg)));
    expect(`${err}${out}`).toMatch(message);
    expect(code).toBe(1);
    expect(err).not.toMatch(/\n {4}at /);
  });

  it('a truncated CIFAR file is named', async () => {
    mkdirSync(path('cifar'));
    for (const file of ['data_batch_1.bin', 'test_batch.bin'])
      writeFileSync(path(`cifar/${file}`), new Uint8Array(3073 * 3 - 5));
    const { code, err } = await deit('train', '--data', path('cifar'), '--output', path('out-cifar'));
    expect(code).toBe(1);
    expect(err).toMatch(/data_batch_1\.bin[\s\S]*3073/);
  });

  it('a run folder with something in it is left alone', async () => {
    mkdirSync(path('full'));
    writeFileSync(path('full/precious.txt'), 'mine');
    const { code, err } = await deit('train', '--steps', '1', '--output', path('full'));
    expect(code).toBe(1);
    expect(err).toMatch(/not empty/);
    expect(readdirSync(path('full'))).toEqual(['precious.txt']);
  });
});
