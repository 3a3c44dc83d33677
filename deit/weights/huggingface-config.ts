/**
 * What the config.json of a folder or repository of the Hugging Face hub says of its model, as transformers
 * (`model_type`) and timm (`architecture`) write it. Browser-safe.
 */
import { DeitError } from '../../engine/index.ts';
import { deitConfig } from '../models/deit-config.ts';
import type { DeitConfig } from '../models/deit-config.ts';
import { deitFamily } from '../models/deit-family.ts';
import { formatOptions } from '../models/options.ts';
import type { OptionNames } from '../models/options.ts';
import { describeModel } from '../models/registry.ts';
import { regnetyConfig, regnetyModels, regnetyStages } from '../models/regnety-config.ts';

/** A parsed JSON object. */
export type Json = Readonly<Record<string, unknown>>;

/** Name and options of a model, as `createModel` takes them, and the names of its classes, if they are known. */
export interface NamedModel {
  readonly model: string;
  readonly classes: readonly string[] | null;
}

/** The model of a config.json of either library; `where` is the file, for errors. Throws `bad-config`, `unknown-name`. */
export function modelOfConfig(config: Json, where: string): NamedModel {
  if (typeof config.architecture === 'string') return timmModel(config, config.architecture, where);
  const { model_type: type } = config;
  if (type === 'deit' || type === 'vit') return { model: deitOfConfig(config, where), classes: labelsOf(config) };
  if (type === 'regnet') return { model: regnetOfConfig(config, where), classes: labelsOf(config) };
  throw unusable(
    where,
    'model_type deit, vit or regnet (transformers), or an architecture (timm)',
    `model_type ${JSON.stringify(type)}`,
  );
}

const unusable = (where: string, expected: string, found: string): DeitError =>
  new DeitError('bad-config', 'This is not a DeiT, ViT or RegNetY classifier that can be used here.', {
    where,
    expected,
    found,
  });

/** Checks that a setting is absent or as it must be. */
function expectSetting(config: Json, name: string, expected: unknown, where: string): void {
  const found = config[name] ?? expected;
  if (found !== expected) throw unusable(where, `${name} ${JSON.stringify(expected)}`, JSON.stringify(found));
}

function numberOf(config: Json, name: string, fallback: number, where: string): number {
  const value = config[name] ?? fallback;
  const [first, ...rest] = Array.isArray(value) ? (value as unknown[]) : [value];
  if (typeof first === 'number' && Number.isFinite(first) && rest.every((other) => other === first)) return first;
  throw unusable(where, `${name}, a number (of sides: equal ones)`, JSON.stringify(value));
}

const deitClasses = ['DeiTForImageClassificationWithTeacher', 'DeiTForImageClassification'] as const;
const vitClasses = ['ViTForImageClassification'] as const;

function deitOfConfig(config: Json, where: string): string {
  const classes = numberOfClasses(config, where);
  const isDeit = config.model_type === 'deit';
  const known = isDeit ? deitClasses : vitClasses;
  const [architecture] = Array.isArray(config.architectures) ? (config.architectures as unknown[]) : [];
  if (!known.some((name) => name === architecture)) {
    throw unusable(where, `architectures [${known.join(' or ')}]`, JSON.stringify(config.architectures));
  }
  expectSetting(config, 'hidden_act', 'gelu', where);
  expectSetting(config, 'qkv_bias', true, where);
  // Defaults are those of transformers' DeiTConfig and ViTConfig.
  const shape = {
    imageSize: numberOf(config, 'image_size', 224, where),
    patchSize: numberOf(config, 'patch_size', 16, where),
    inChans: numberOf(config, 'num_channels', 3, where),
    width: numberOf(config, 'hidden_size', 768, where),
    depth: numberOf(config, 'num_hidden_layers', 12, where),
    heads: numberOf(config, 'num_attention_heads', 12, where),
    dFf: numberOf(config, 'intermediate_size', 3072, where),
    eps: numberOf(config, 'layer_norm_eps', 1e-12, where),
    classes,
    distHead: architecture === 'DeiTForImageClassification' ? 0 : 1,
  };
  return nearestDeit(shape, isDeit);
}

/** The published model that differs in the fewest settings, with these as options. */
function nearestDeit(shape: Partial<Record<keyof DeitConfig, number>> & { width: number }, distilled: boolean): string {
  const settings = Object.entries(shape) as [keyof DeitConfig, number][];
  const candidates = Object.entries(deitFamily.models).flatMap(([name, published]) => {
    // The hidden width follows from the width unless it is given.
    const config = { ...deitConfig(published), dFf: 4 * shape.width };
    if (config.distilled !== distilled) return [];
    return [{ name, options: settings.filter(([key, value]) => value !== config[key]) }];
  });
  const { name, options } = candidates.reduce((a, b) => (b.options.length < a.options.length ? b : a));
  const pairs = formatOptions<DeitConfig>(Object.fromEntries(options), deitFamily.options as OptionNames<DeitConfig>);
  return [name, ...pairs].join(' ');
}

/**
 * transformers states the widths and depths of a RegNet, timm and this package the numbers from which they follow. A model
 * of other shapes than the published ones is found by the name that `deit export` leaves in config.json.
 */
function regnetOfConfig(config: Json, where: string): string {
  expectSetting(config, 'layer_type', 'y', where);
  expectSetting(config, 'hidden_act', 'relu', where);
  expectSetting(config, 'downsample_in_first_stage', true, where);
  const classes = numberOfClasses(config, where);
  const shape = JSON.stringify([config.hidden_sizes, config.depths]);
  const groupWidth = numberOf(config, 'groups_width', 64, where);
  const stemWidth = numberOf(config, 'embedding_size', 32, where);
  const inChans = numberOf(config, 'num_channels', 3, where);
  const fits = (options: object): boolean => {
    const candidate = regnetyConfig(options);
    const stages = regnetyStages(candidate);
    const found = JSON.stringify([stages.map(({ width }) => width), stages.map(({ depth }) => depth)]);
    // What the widths of groups come to: they are at most as wide as the stage.
    const same = stages.every(({ width }) => Math.min(width, candidate.groupWidth) === Math.min(width, groupWidth));
    return found === shape && same;
  };
  const name = Object.entries(regnetyModels).find(([, options]) => fits(options))?.[0];
  const named = (config.deit_webgpu ?? {}) as { model?: unknown };
  if (name === undefined && typeof named.model === 'string' && named.model.startsWith('regnety_')) return named.model;
  if (name === undefined) {
    throw unusable(
      where,
      'the hidden_sizes, depths and groups_width of a published RegNetY',
      `${shape}, groups of ${groupWidth}`,
    );
  }
  const options = [
    [classes, 1000, 'num_classes'],
    [stemWidth, 32, 'stem_width'],
    [inChans, 3, 'in_chans'],
  ] as const;
  return [name, ...options.filter(([value, usual]) => value !== usual).map(([value, , key]) => `${key}=${value}`)].join(
    ' ',
  );
}

/** As transformers counts: the labels, or else `num_labels`, of which its default is 2. */
const numberOfClasses = (config: Json, where: string): number =>
  isObject(config.id2label) ? Object.keys(config.id2label).length : numberOf(config, 'num_labels', 2, where);

/** Names by number; null where they are transformers' own LABEL_0, LABEL_1 and so on. */
function labelsOf({ id2label }: Json): readonly string[] | null {
  if (!isObject(id2label)) return null;
  const names = Object.keys(id2label).map((_, index) => id2label[index]);
  if (!names.every((name) => typeof name === 'string')) return null;
  return names.every((name, index) => name === `LABEL_${index}`) ? null : names;
}

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function timmModel(config: Json, architecture: string, where: string): NamedModel {
  const pretrained = isObject(config.pretrained_cfg) ? config.pretrained_cfg : config;
  const [name] = architecture.split('.');
  const base = describeModel(name);
  const given = isObject(config.model_args) ? config.model_args : {};
  for (const part of [config, given])
    expectSetting(part, 'global_pool', name.startsWith('deit') ? 'token' : 'avg', where);
  const { input_size: input } = pretrained;
  const facts = {
    num_classes: config.num_classes ?? pretrained.num_classes,
    img_size: Array.isArray(input) ? (input as unknown[]).slice(1) : undefined,
    ...given,
  };
  const options = Object.entries(facts).flatMap(([key, value]) => {
    if (key === 'global_pool' || value === undefined || value === null) return [];
    return [[key, numberOf(facts, key, 0, where)] as const];
  });
  const usual = { num_classes: base.classes, img_size: base.imageSize, in_chans: base.inChans } as Json;
  const pairs = options.filter(([key, value]) => value !== usual[key]).map(([key, value]) => `${key}=${value}`);
  const model = describeModel([name, ...pairs].join(' '));
  return { model: model.spec, classes: timmLabels({ ...pretrained, ...config }, model.classes) };
}

/** timm's labels, by their descriptions where it has some: the names themselves may be WordNet's numbers. */
function timmLabels(config: Json, classes: number): readonly string[] | null {
  const names = config.label_names ?? config.labels;
  if (!Array.isArray(names) || names.length !== classes) return null;
  const descriptions = isObject(config.label_descriptions) ? config.label_descriptions : {};
  const labels = names.map((name: unknown) => descriptions[String(name)] ?? name);
  return labels.every((label) => typeof label === 'string') ? labels : null;
}
