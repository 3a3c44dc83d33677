/** @module-tag slow */
/**
 * Exported ONNX files, run by ONNX Runtime's WebAssembly build, against timm in float64. bench/interop/onnx_check.py does the
 * same with ONNX's own checker and the native runtime.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeitError, storeFloats } from '../../engine/index.ts';
import { buildModel } from '../../deit/train/node/open-model.ts';
import { writeOnnxFile } from '../../deit/export/node/onnx-file.ts';
import { messageType } from '../../deit/export/node/proto.ts';
import { exportModel } from '../../deit/cli/export.ts';
import { onnxModel } from '../../deit/export/onnx.ts';
import type { Classifier } from '../../deit/models/classifier.ts';
import { createModel } from '../../deit/models/registry.ts';
import { relativeError } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { uniform } from '../support/generator.ts';
import { goldenTensors } from '../support/golden.ts';
import { goldenModel, goldenModels, goldenSpec } from '../support/golden-models.ts';
import type { GoldenModel } from '../support/golden-models.ts';
import { shippedCrops } from '../support/shipped-crops.ts';

const engine = useEngine();
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-onnx-'));
  ort.env.wasm.numThreads = 1;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const card = (model: string, imageSize: number) =>
  ({ model, classes: ['a "b"', 'c'], imageSize, cropPct: 0.875, interpolation: 'bicubic', data: 'nothing' }) as const;

type Options = Parameters<typeof writeOnnxFile>[3];

/** Exports a model; what comes back runs the file on images [count, 3, side, side] and gives outputs by name. */
async function exported(model: Classifier, spec: string, side: number, options: Options) {
  const path = join(folder, 'model.onnx');
  await writeOnnxFile(path, model, card(spec, side), options);
  const session = await ort.InferenceSession.create(readFileSync(path));
  return (images: Float32Array, count: number) =>
    session.run({ pixel_values: new ort.Tensor('float32', images, [count, 3, side, side]) });
}

const exportedGolden = (golden: GoldenModel, options: Options) =>
  exported(goldenModel(engine(), golden), goldenSpec(golden), golden.imageSize, options);
const goldenImages = ({ images, batch, imageSize }: GoldenModel): Float32Array =>
  uniform(images, batch * 3 * imageSize ** 2, 0, 2);
const values = (tensor: ort.Tensor): Float32Array => tensor.data as Float32Array;

const tiny = goldenModels.filter(({ gradients }) => gradients === 'full');

describe('models as ONNX', () => {
  it.each(tiny)("$key gives timm's logits, for any batch", async (golden) => {
    const { batch, imageSize, classes } = golden;
    const images = goldenImages(golden);
    const file = goldenTensors(golden.file);
    const expected = file('eval.logits').values;
    // As for the engine's own logits: the runtime sums in another order than PyTorch, whose f32 strays by `drift`.
    const bound = 3 * file('drift.eval.logits').values[0] + 1e-6;
    const run = await exportedGolden(golden, { dtype: 'f32', heads: 'average' });
    for (const count of [batch, 1]) {
      const { logits } = await run(images.subarray(0, count * 3 * imageSize ** 2), count);
      expect(logits.dims).toEqual([count, classes]);
      expect(relativeError(values(logits), expected.subarray(0, count * classes))).toBeLessThan(bound);
    }
  });

  it.each(tiny)('$key in f16 rounds as f16 does', async (golden) => {
    const run = await exportedGolden(golden, { dtype: 'f16', heads: 'average' });
    const { logits } = await run(goldenImages(golden), golden.batch);
    const error = relativeError(values(logits), goldenTensors(golden.file)('eval.logits').values);
    // Weights and results of some forty operators in a row are each rounded by up to 2^-11: a random walk of that step.
    expect(error).toBeLessThan(Math.sqrt(40) * 2 ** -11);
    expect(error).toBeGreaterThan(2 ** -14);
  });

  it('gives both heads of a distilled model when asked to', async () => {
    const golden = goldenModels.find(({ key }) => key === 'deit_distilled')!;
    const run = await exportedGolden(golden, { dtype: 'f32', heads: 'both' });
    const found = await run(goldenImages(golden), golden.batch);
    expect(Object.keys(found)).toEqual(['cls_logits', 'distillation_logits']);
    const file = goldenTensors(golden.file);
    for (const [name, head] of [
      ['cls_logits', 'cls'],
      ['distillation_logits', 'dist'],
    ] as const) {
      const bound = 3 * file(`drift.train.logits_${head}`).values[0] + 1e-6;
      expect(relativeError(values(found[name]), file(`train.logits_${head}`).values), name).toBeLessThan(bound);
    }
  });

  it('the shipped model gives the same logits as here, to 1e-5', async () => {
    const { model, spec } = await buildModel(engine(), { weights: 'shipped' }, () => undefined);
    const { images, shape, logits: expected, drift } = shippedCrops();
    const one = images.subarray(0, images.length / shape[0]);
    const run = await exported(model, spec, shape[2], { dtype: 'f32', heads: 'average' });
    const found = values((await run(one, 1)).logits);
    const ours = await engine()
      .noGrad(() => model.eval().heads(engine().tensor(one, [1, ...shape.slice(1)])))
      .cls.read();
    const apart = found.reduce((most, value, i) => Math.max(most, Math.abs(value - ours[i])), 0);
    expect(apart).toBeLessThan(1e-5);
    expect(relativeError(found, expected.subarray(0, found.length))).toBeLessThan(8 * drift);
  });

  it('says in its metadata what it is, how to prepare images and what the classes are', async () => {
    const golden = goldenModels.find(({ key }) => key === 'regnety')!;
    const path = join(folder, 'metadata.onnx');
    const options = { dtype: 'f32', heads: 'average' } as const;
    await writeOnnxFile(path, goldenModel(engine(), golden), card(goldenSpec(golden), 224), options);
    const type = messageType('onnx.proto', 'onnx.ModelProto');
    const model = type.toObject(type.decode(readFileSync(path)), { longs: Number }) as {
      opsetImport: object[];
      metadataProps: { key: string; value: string }[];
      graph: { input: { name: string; type: { tensorType: { shape: { dim: object[] } } } }[] };
    };
    expect(model.opsetImport).toEqual([{ domain: '', version: 17 }]);
    const metadata = Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value]));
    expect(metadata.model).toBe(goldenSpec(golden));
    expect(JSON.parse(metadata.class_names)).toEqual(['a "b"', 'c']);
    expect(JSON.parse(metadata.preprocessing)).toMatchObject({
      size: { shortest_edge: 256 },
      crop_size: { height: 224, width: 224 },
      resample: 3,
      image_mean: [0.485, 0.456, 0.406],
      image_std: [0.229, 0.224, 0.225],
    });
    const [input] = model.graph.input;
    const sizes = [{ dimParam: 'batch' }, { dimValue: 3 }, { dimValue: 224 }, { dimValue: 224 }];
    expect([input.name, input.type.tensorType.shape.dim]).toEqual(['pixel_values', sizes]);
  });
});

describe('what ONNX cannot hold', () => {
  const options = { heads: 'average', imageSize: 8, metadata: {}, version: '0' } as const;
  const plain = (): Classifier => createModel(engine(), 'deit_tiny_patch16_224 img_size=8 patch_size=4 depth=1');
  const failure = (work: () => unknown): DeitError => {
    try {
      work();
    } catch (error) {
      if (error instanceof DeitError) return error;
    }
    throw new Error('no DeitError');
  };

  it('models of 2 GiB and more', () => {
    // 2^29 numbers are 2 GiB in f32 and 1 GiB in f16.
    const state = new Map([['large', { dtype: 'F32', shape: [2 ** 15, 2 ** 14], bytes: new Uint8Array() } as const]]);
    const error = failure(() => onnxModel(plain(), state, { ...options, dtype: 'f32' }));
    expect(error.code).toBe('limit-exceeded');
    expect(error.details).toMatchObject({ found: '2.00 GiB of weights in f32', fix: 'export in f16' });
    // What fits goes on, and then misses the weights of the model.
    expect(failure(() => onnxModel(plain(), state, { ...options, dtype: 'f16' })).code).toBe('state-mismatch');
  });

  it('both heads of a model with one', () => {
    const error = failure(() => onnxModel(plain(), new Map(), { ...options, dtype: 'f32', heads: 'both' }));
    expect(error.code).toBe('bad-config');
  });

  it('a choice of heads for a file of another format', async () => {
    const asked = { output: 'x.safetensors', dtype: 'f32', heads: 'both' } as Parameters<typeof exportModel>[0];
    await expect(exportModel(asked)).rejects.toThrow(/bad-config[^]*--heads both[^]*--format onnx/);
  });

  it.each([65_520, Infinity, NaN])('%f in f16', (value) => {
    const state = new Map([['patch_embed.proj.weight', storeFloats(new Float32Array(192 * 48).fill(value))]]);
    const error = failure(() => onnxModel(plain(), state, { ...options, dtype: 'f16' }));
    expect([error.code, error.details.where]).toEqual(['non-finite', 'patch_embed.proj.weight']);
  });
});
