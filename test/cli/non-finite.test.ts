import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryBatches } from '../../deit/browser/batches.ts';
import { MemoryDataset, evaluationPipeline } from '../../deit/data/index.ts';
import { argmaxRows } from '../../deit/logits.ts';
import { createModel, summarizeModel } from '../../deit/models/registry.ts';
import { analyzeModel } from '../../deit/report/examine-model.ts';
import { toPng } from '../../deit/report/node/pictures.ts';
import { Evaluator } from '../../deit/train/evaluate.ts';
import { serializeSafetensors, storeElements, storeFloats } from '../../engine/index.ts';
import type { StoredTensor } from '../../engine/index.ts';
import { uniform } from '../support/close.ts';
import { ran } from '../support/command.ts';
import { useEngine } from '../support/engine.ts';

const DEIT = 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 depth=1 embed_dim=48 num_heads=3 num_classes=3';
const REGNET = 'regnety_002 w0=16 wa=8 wm=2 depth=2 group_size=8 stem_width=8 num_classes=3 img_size=32';
const CLASSES = ['cat', 'dog', 'horse'];

let folder = '';
const path = (name: string): string => join(folder, name);

/** Small weights of a model, with changes to some tensors, as a file with a card. */
function weights(name: string, spec: string, changes: Record<string, (values: Float32Array) => void> = {}): string {
  const described = summarizeModel(spec);
  const tensors = described.tensors.map(({ name: tensor, shape, kind }, i): [string, StoredTensor] => {
    if (kind === 'counter') return [tensor, storeElements('I64', BigInt64Array.of(1n), [])];
    // Running variances have to be positive.
    const values = uniform(
      shape.reduce((a, b) => a * b, 1),
      i,
      0.1,
    ).map((value) => value + (/var$/.test(tensor) ? 1 : 0));
    changes[tensor]?.(values);
    return [tensor, storeFloats(values, shape)];
  });
  for (const tensor of Object.keys(changes)) expect(tensors.map(([own]) => own)).toContain(tensor);
  const card = {
    model: described.spec,
    classes: CLASSES,
    imageSize: 32,
    cropPct: 0.875,
    interpolation: 'bicubic',
    data: 'x',
  };
  writeFileSync(path(name), serializeSafetensors(new Map(tensors), new Map([['deit-webgpu', JSON.stringify(card)]])));
  return path(name);
}

function input(name: string, change: (values: Float32Array) => void = () => undefined): string {
  const images = uniform(2 * 3 * 32 * 32, 1);
  change(images);
  const tensors = new Map([
    ['images', storeFloats(images, [2, 3, 32, 32])],
    ['labels', storeElements('I32', Int32Array.of(0, 2), [2])],
    ['teacher_logits', storeFloats(uniform(6, 9), [2, 3])],
  ]);
  writeFileSync(path(name), serializeSafetensors(tensors));
  return path(name);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-non-finite-'));
  const noise = uniform(32 * 32 * 3, 3);
  const photo = { width: 32, height: 32, data: Uint8Array.from(noise, (value) => Math.round(127.5 * (value + 1))) };
  for (const name of CLASSES) {
    mkdirSync(path(`photos/val/${name}`), { recursive: true });
    mkdirSync(path(`photos/train/${name}`), { recursive: true });
    for (const split of ['train', 'val']) writeFileSync(path(`photos/${split}/${name}/1.png`), await toPng(photo));
  }
  input('input.safetensors');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Every command that computes with weights, on them. */
const commands = (file: string, spec: string, given = path('input.safetensors')): Record<string, string[]> => ({
  predict: ['predict', '--weights', file, path('photos/val/cat/1.png')],
  evaluate: ['evaluate', '--weights', file, '--data', path('photos')],
  ...(spec === DEIT
    ? { attention: ['attention', '--weights', file, '--output', path('looks'), path('photos/val/cat/1.png')] }
    : {}),
  logits: ['logits', '--model', spec, '--weights', file, '--input', given, '--output', path('out')],
  gradients: ['gradients', '--model', spec, '--weights', file, '--input', given, '--output', path('out')],
  'export f32': ['export', '--weights', file, '--output', path('out')],
  'export f16': ['export', '--weights', file, '--dtype', 'f16', '--output', path('out')],
});

async function expectRefused(args: string[], ...said: (string | RegExp)[]): Promise<void> {
  const { code, out, err } = await ran(...args);
  expect({ args, code, out }).toEqual({ args, code: 1, out: '' });
  expect(err).toContain('[non-finite]');
  for (const text of said) expect(err).toMatch(text);
  // Where nothing was trained there are no checkpoints to recommend.
  expect(err).not.toMatch(/checkpoints are good|NaN %|\n {4}at /);
}

describe.each([
  ['a DeiT', DEIT, 'blocks.0.attn.qkv.weight', '2, 5'],
  ['a RegNetY', REGNET, 's1.b1.conv1.bn.weight', '5'],
])('weights of %s', (_, spec, tensor, place) => {
  const at = tensor.includes('qkv') ? 2 * 48 + 5 : 5;

  it.each([NaN, Infinity, -Infinity])('with %s are refused by every command, which names the tensor', async (value) => {
    const file = weights('bad.safetensors', spec, { [tensor]: (values) => (values[at] = value) });
    for (const args of Object.values(commands(file, spec))) {
      await expectRefused(args, 'weights are not finite', file, `${value} in ${tensor} at [${place}]`);
    }
  });
});

it('finite weights that overflow: every command names the operator and the input', async () => {
  const file = weights('large.safetensors', DEIT, {
    'norm.bias': (values) => values.fill(10),
    'head.weight': (values) => values.fill(3e38),
  });
  for (const [command, args] of Object.entries(commands(file, DEIT))) {
    if (command === 'export f32') continue;
    if (command === 'export f16') await expectRefused(args, /no finite value in f16[\s\S]*head\.weight/);
    else await expectRefused(args, /though weights and input are/, /first in linear in head /, /1\.png|tensor images/);
  }
  // In f32 there is nothing wrong with it.
  expect((await ran(...commands(file, DEIT)['export f32'])).code).toBe(0);
});

it('input that is not finite: the file, the tensor and the place are named', async () => {
  const file = weights('good.safetensors', DEIT);
  for (const value of [NaN, Infinity]) {
    const given = input('bad-input.safetensors', (values) => (values[3 * 32 * 32 + 33] = value));
    const { logits, gradients } = commands(file, DEIT, given);
    for (const args of [logits, gradients]) {
      await expectRefused(args, 'input is not finite', `${given}, tensor images`, `${value} at [1, 0, 1, 1]`);
    }
  }
});

it('weights and input that are finite give finite results', async () => {
  for (const spec of [DEIT, REGNET]) {
    for (const args of Object.values(commands(weights('good.safetensors', spec), spec))) {
      const { code, err } = await ran(...args);
      expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
    }
  }
});

describe('in the library', () => {
  const engine = useEngine();
  const pixels = uniform(4 * 32 * 32 * 3, 5).map((value) => 127.5 * (value + 1));
  const dataset = new MemoryDataset({
    name: 'noise',
    split: 'val',
    classes: CLASSES,
    imageSize: 32,
    labels: Uint8Array.of(0, 1, 2, 0),
    pixels: Uint8Array.from(pixels),
  });
  const source = (): MemoryBatches => new MemoryBatches(dataset, evaluationPipeline({ imageSize: 32 }), 4);

  it('evaluation and the analysis of a report throw rather than count NaN as a class', async () => {
    const model = createModel(engine(), DEIT);
    const bias = model.stateDict().get('head.bias')!;
    bias.write([0, NaN, 0]);
    const expected = { code: 'non-finite', details: { found: 'NaN in head.bias at [1]' } };
    await expect(new Evaluator(engine(), model, source(), 32).run()).rejects.toMatchObject(expected);
    const options = { student: model, teacher: null, classes: CLASSES, imageSize: 32 };
    const encode = () => Promise.resolve('');
    await expect(analyzeModel({ engine: engine(), source: source(), encode, ...options })).rejects.toMatchObject(
      expected,
    );
  });

  it('NaN has no place in an argmax', () => {
    expect(() => argmaxRows([NaN, 1], 2)).toThrow('NaN');
    expect(argmaxRows([-Infinity, -1, 3, 3], 2)).toEqual([1, 0]);
  });
});
