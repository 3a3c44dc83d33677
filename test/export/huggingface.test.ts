/** Folders of Hugging Face transformers and timm, written and read. bench/interop/transformers_check.py asks transformers itself. */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeitError, parseSafetensors, serializeSafetensors, toFloat32 } from '../../engine/node.ts';
import { huggingFaceModel } from '../../deit/export/huggingface.ts';
import { writeHuggingFaceFolder } from '../../deit/export/node/huggingface-folder.ts';
import { createModel } from '../../deit/models/registry.ts';
import { VisionTransformer } from '../../deit/models/deit.ts';
import { openCheckpoint } from '../../deit/train/node/checkpoint.ts';
import type { ModelCard } from '../../deit/weights/model-card.ts';
import { loadWeights } from '../../deit/weights/index.ts';
import { saveState, stateValues } from '../../nn/index.ts';
import { expectClose } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { uniform, weight } from '../support/generator.ts';
import { goldenJson, goldenTensors } from '../support/golden.ts';
import { goldenModel, goldenModels, goldenSpec } from '../support/golden-models.ts';

const engine = useEngine();
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deit-huggingface-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** [name there, shape there, timm name, first row, end row], by transformers: see test/golden/names.py. */
type Row = [name: string, shape: number[], timm: string, first: number | null, end: number | null];
const { namings } = goldenJson<{ namings: Record<string, Record<string, Row[]>> }>('names.json');
const golden = (key: string) => goldenModels.find((model) => model.key === key)!;
const classes = (count: number): string[] => Array.from({ length: count }, (_, i) => `class "${i}"`);

const card = (spec: string, imageSize: number, count: number): ModelCard => ({
  model: spec,
  classes: classes(count),
  imageSize,
  cropPct: 0.875,
  interpolation: 'bicubic',
  data: 'nothing',
});

describe('folders for transformers', () => {
  it.each(['deit_distilled', 'deit_plain', 'regnety'])('%s has the tensors of its class there', async (key) => {
    const model = goldenModel(engine(), golden(key));
    const { tensors } = huggingFaceModel(model, await saveState(model));
    const rows = namings[key].transformersClassic;
    expect(new Set(tensors.keys())).toEqual(new Set(rows.map(([name]) => name)));
    const shapes = new Map([...model.stateDict()].map(([name, { shape }]) => [name, shape]));
    for (const [name, shape, timm, first, end] of rows) {
      const found = tensors.get(name)!;
      expect(found.shape, name).toEqual(shape);
      if (timm.endsWith('num_batches_tracked')) continue;
      const whole = weight(timm, shapes.get(timm)!);
      const width = shape.slice(1).reduce((a, b) => a * b, 1);
      const part = first === null ? whole : whole.subarray(first * width, end! * width);
      expect([...toFloat32(found)], name).toEqual([...part]);
    }
  });

  it.each(['deit_distilled', 'deit_plain', 'regnety'])("%s comes back with timm's logits", async (key) => {
    const { batch, imageSize, classes: count, images, file } = golden(key);
    const path = join(folder, key);
    const spec = goldenSpec(golden(key));
    await writeHuggingFaceFolder(path, goldenModel(engine(), golden(key)), card(spec, imageSize, count), 'f32');
    expect(readdirSync(path).sort()).toEqual(['config.json', 'model.safetensors', 'onnx', 'preprocessor_config.json']);
    expect(parseSafetensors(readFileSync(join(path, 'model.safetensors'))).metadata.get('format')).toBe('pt');
    const { tensors, card: read } = await openCheckpoint(path);
    expect(read).toMatchObject({ classes: classes(count), imageSize, interpolation: 'bicubic', data: 'nothing' });
    const model = createModel(engine(), read!.model).eval();
    loadWeights(model, stateValues(tensors));
    const shape = [batch, 3, imageSize, imageSize];
    const pixels = engine().tensor(uniform(images, batch * 3 * imageSize ** 2, 0, 2), shape);
    const logits = model instanceof VisionTransformer ? model.forward(pixels, 'average') : model.heads(pixels).cls;
    // A dozen f32 layers; PyTorch's own f32 result differs as much from its f64 result.
    expectClose(await logits.read(), goldenTensors(file)('eval.logits').values, 2e-6);
  });

  it('says what a config.json of transformers says', () => {
    const { imageSize, classes: count } = golden('deit_distilled');
    const config = JSON.parse(readFileSync(join(folder, 'deit_distilled', 'config.json'), 'utf8')) as object;
    const { patch, width, depth, heads, dFf } = golden('deit_distilled').options;
    expect(config).toMatchObject({
      architectures: ['DeiTForImageClassificationWithTeacher'],
      model_type: 'deit',
      hidden_size: width,
      num_hidden_layers: depth,
      num_attention_heads: heads,
      intermediate_size: dFf,
      layer_norm_eps: 1e-6,
      image_size: imageSize,
      patch_size: patch,
      id2label: { 0: 'class "0"' },
      label2id: { [`class "${count - 1}"`]: count - 1 },
    });
  });

  it('a token of distillation without a head answers by the class head alone', async () => {
    const { batch, imageSize, images, file } = golden('deit_distilled');
    const path = join(folder, 'one-head');
    const trained = goldenModel(engine(), golden('deit_distilled'));
    const spec = `${goldenSpec(golden('deit_distilled'))} dist_head=0`;
    const state = await saveState(trained);
    for (const name of ['head_dist.weight', 'head_dist.bias']) state.delete(name);
    const model = createModel(engine(), spec).eval();
    loadWeights(model, stateValues(state));
    expect(model.distilled).toBe(false);
    const { config, tensors } = huggingFaceModel(model, await saveState(model));
    expect(config.architectures).toEqual(['DeiTForImageClassification']);
    expect([...tensors.keys()]).toContain('classifier.weight');
    mkdirSync(path);
    writeFileSync(join(path, 'model.safetensors'), serializeSafetensors(tensors));
    const numbers = { num_labels: golden('deit_distilled').classes };
    writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, ...numbers }));
    writeFileSync(join(path, 'preprocessor_config.json'), JSON.stringify(deitProcessor(imageSize, imageSize)));
    const opened = await openCheckpoint(path);
    const again = createModel(engine(), opened.card!.model).eval();
    loadWeights(again, stateValues(opened.tensors));
    const pixels = uniform(images, batch * 3 * imageSize ** 2, 0, 2);
    const { cls, dist } = again.heads(engine().tensor(pixels, [batch, 3, imageSize, imageSize]));
    expect(dist).toBeNull();
    expectClose(await cls.read(), goldenTensors(file)('train.logits_cls').values, 2e-6);
  });

  it('is not written over anything, nor for shapes that transformers does not have', async () => {
    const model = goldenModel(engine(), golden('deit_plain'));
    const filled = join(folder, 'filled');
    mkdirSync(filled);
    writeFileSync(join(filled, 'config.json'), 'mine');
    const write = writeHuggingFaceFolder(filled, model, card('', 32, 5), 'f32');
    await expect(write).rejects.toMatchObject({ code: 'file-unwritable' });
    expect(readFileSync(join(filled, 'config.json'), 'utf8')).toBe('mine');
    const stride = createModel(engine(), 'regnety_002 stem_stride=1 se_ratio=0.5');
    const other = writeHuggingFaceFolder(join(folder, 'other'), stride, card('', 32, 5), 'f32');
    await expect(other).rejects.toMatchObject({
      code: 'bad-config',
      details: { found: 'a stem of stride 1 instead of 2, se_ratio 0.5 instead of 0.25' },
    });
  });
});

/** preprocessor_config.json as facebook's DeiT repositories have it, with sizes of choice. */
const deitProcessor = (size: number, crop: number): object => ({
  crop_size: crop,
  do_center_crop: true,
  do_normalize: true,
  do_resize: true,
  feature_extractor_type: 'DeiTFeatureExtractor',
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
  resample: 3,
  size,
});

describe('what published files say', () => {
  const empty = serializeSafetensors(new Map());
  let count = 0;

  /** The card of a folder with these files. */
  async function read(config: object, processor?: object): Promise<ModelCard> {
    const path = join(folder, `published-${count++}`);
    mkdirSync(path);
    writeFileSync(join(path, 'config.json'), JSON.stringify(config));
    writeFileSync(join(path, 'model.safetensors'), empty);
    if (processor) writeFileSync(join(path, 'preprocessor_config.json'), JSON.stringify(processor));
    return (await openCheckpoint(path)).card!;
  }
  const labels = (n: number): object => Object.fromEntries(Array.from({ length: n }, (_, i) => [i, `label ${i}`]));
  const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
  const base = {
    ...{ hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072 },
    ...{ hidden_act: 'gelu', layer_norm_eps: 1e-12, image_size: 224, patch_size: 16, num_channels: 3 },
    id2label: labels(1000),
  };

  it('facebook/deit-base-distilled-patch16-224', async () => {
    const config = { ...base, architectures: ['DeiTForImageClassificationWithTeacher'], model_type: 'deit' };
    expect(await read(config, deitProcessor(256, 224))).toMatchObject({
      model: 'deit_base_distilled_patch16_224 eps=1e-12',
      imageSize: 224,
      cropPct: 0.875,
      interpolation: 'bicubic',
      preparation: { resizeMode: 'squash', cropRounding: 'down', normalization: imagenet },
    });
  });

  it('google/vit-base-patch16-384', async () => {
    const config = { ...base, image_size: 384, architectures: ['ViTForImageClassification'], model_type: 'vit' };
    const processor = {
      ...{ do_normalize: true, do_resize: true, feature_extractor_type: 'ViTFeatureExtractor' },
      ...{ image_mean: half.mean, image_std: half.std, resample: 2, size: 384 },
    };
    expect(await read(config, processor)).toMatchObject({
      model: 'deit_base_patch16_384 eps=1e-12',
      imageSize: 384,
      cropPct: 1,
      interpolation: 'bilinear',
      preparation: { resizeMode: 'squash', normalization: half },
    });
  });

  it('facebook/regnet-y-160', async () => {
    const config = {
      ...{ architectures: ['RegNetForImageClassification'], model_type: 'regnet', layer_type: 'y', hidden_act: 'relu' },
      ...{ depths: [2, 4, 11, 1], hidden_sizes: [224, 448, 1232, 3024], groups_width: 112, embedding_size: 32 },
      ...{ downsample_in_first_stage: true, num_channels: 3, id2label: labels(1000) },
    };
    const processor = {
      ...{ crop_pct: 0.875, do_normalize: true, do_resize: true, feature_extractor_type: 'ConvNextFeatureExtractor' },
      ...{ image_mean: imagenet.mean, image_std: imagenet.std, resample: 3, size: 224 },
    };
    const found = await read(config, processor);
    expect(found).toMatchObject({ model: 'regnety_160', cropPct: 0.875, preparation: { resizeMode: 'shorter' } });
    expect(found.classes[999]).toBe('label 999');
    const large = await read({ ...config, id2label: labels(7) }, { ...processor, size: { shortest_edge: 384 } });
    expect(large).toMatchObject({ model: 'regnety_160 img_size=384 num_classes=7', cropPct: 1 });
    expect(large.preparation!.resizeMode).toBe('squash');
    await expect(read({ ...config, depths: [2, 4, 11, 2] }, processor)).rejects.toThrow(/of a published RegNetY/);
  });

  it('timm/deit_tiny_distilled_patch16_224.fb_in1k, and a fine-tuned one', async () => {
    const config = {
      architecture: 'deit_tiny_distilled_patch16_224',
      num_classes: 1000,
      global_pool: 'token',
      pretrained_cfg: {
        ...{ tag: 'fb_in1k', input_size: [3, 224, 224], fixed_input_size: true, interpolation: 'bicubic' },
        ...{ crop_pct: 0.9, crop_mode: 'center', mean: imagenet.mean, std: imagenet.std, num_classes: 1000 },
      },
    };
    expect(await read(config)).toMatchObject({
      model: 'deit_tiny_distilled_patch16_224',
      classes: [],
      cropPct: 0.9,
      preparation: { resizeMode: 'shorter', cropRounding: 'even', normalization: imagenet },
    });
    const tuned = {
      ...config,
      num_classes: 2,
      label_names: ['n01', 'n02'],
      label_descriptions: { n01: 'tench', n02: 'goldfish' },
      model_args: { img_size: [96, 96], global_pool: 'token', depth: 2 },
      pretrained_cfg: { ...config.pretrained_cfg, input_size: [3, 96, 96] },
    };
    expect(await read(tuned)).toMatchObject({
      model: 'deit_tiny_distilled_patch16_224 img_size=96 depth=2 num_classes=2',
      classes: ['tench', 'goldfish'],
      imageSize: 96,
    });
  });

  const vit = { ...base, architectures: ['ViTForImageClassification'], model_type: 'vit' };
  const plain = { ...deitProcessor(248, 224) };
  it('makes the very size that is named, whatever the quotient rounds to', async () => {
    // 224 / (224 / 354) is 353.99..., and 400 and 439 are such sizes too.
    for (const size of [224, 248, 256, 354, 400, 439]) {
      const { cropPct } = await read(vit, deitProcessor(size, 224));
      expect(Math.floor(224 / cropPct), String(size)).toBe(size);
    }
  });

  it.each([
    [{ ...vit, architectures: ['ViTForMaskedImageModeling'] }, plain, /architectures \[ViTForImageClassification\]/],
    [{ ...vit, architectures: ['ViTModel'] }, plain, /ViTModel/],
    [{ ...vit, hidden_act: 'relu' }, plain, /hidden_act "gelu"/],
    [{ ...vit, qkv_bias: false }, plain, /qkv_bias true/],
    [{ ...vit, model_type: 'swin' }, plain, /model_type "swin"/],
    [{ ...vit, image_size: [224, 192] }, plain, /image_size/],
    [{ ...vit, image_size: 192 }, plain, /192 pixels, as config.json says/],
    [vit, { ...plain, resample: 0 }, /bicubic \(3\) or bilinear/],
    [vit, { ...plain, do_rescale: false }, /do_rescale true/],
    [vit, { ...plain, rescale_factor: 1 }, /rescale_factor 1\/255/],
    [vit, { ...plain, size: { height: 256, width: 224 } }, /side of a square/],
    [vit, { ...plain, size: 192 }, /at least the crop, 224/],
    [vit, undefined, /does not say how images are prepared/],
    [{ architecture: 'deit3_base_patch16_224' }, undefined, /no model of this name/],
    [{ architecture: 'deit_tiny_patch16_224', pretrained_cfg: { crop_mode: 'border' } }, undefined, /crop_mode/],
    [{ architecture: 'deit_tiny_patch16_224', global_pool: 'avg' }, undefined, /global_pool "token"/],
  ])('refuses what it cannot do (%#)', async (config, processor, message) => {
    const failed = read(config, processor);
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toBeInstanceOf(DeitError);
  });

  it('names weights that are missing and files that are no JSON', async () => {
    const path = join(folder, 'broken');
    mkdirSync(path);
    writeFileSync(join(path, 'config.json'), JSON.stringify(vit));
    writeFileSync(join(path, 'preprocessor_config.json'), JSON.stringify(plain));
    await expect(openCheckpoint(path)).rejects.toThrow(/not the weights/);
    writeFileSync(join(path, 'config.json'), '{');
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: 'file-corrupt' });
  });
});
