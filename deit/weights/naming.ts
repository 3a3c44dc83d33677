/** The names under which other libraries store the tensors of DeiT and RegNetY. */
import { hasDistHead } from '../models/deit-config.ts';
import type { DeitConfig } from '../models/deit-config.ts';

/** What a foreign name stands for: a tensor of timm's state dict, or one of the three parts of its fused qkv. */
export interface TimmName {
  readonly name: string;
  /** 0, 1, 2 for queries, keys, values: the first, second and third part of the rows. */
  readonly part?: 0 | 1 | 2;
}

export interface Naming {
  /** Library, for messages. */
  readonly label: string;
  /** timm's name; `ignored` for tensors that these models do not have; null for names of another library. */
  readonly toTimm: (name: string) => TimmName | 'ignored' | null;
  /** Input channels of the stem are in the order blue, green, red. */
  readonly bgr?: boolean;
}

const named = (name: string): TimmName => ({ name });

export const timmNaming: Naming = { label: 'timm / facebookresearch', toTimm: named };

const hfDeitFixed: Readonly<Record<string, string>> = {
  'embeddings.cls_token': 'cls_token',
  'embeddings.distillation_token': 'dist_token',
  'embeddings.position_embeddings': 'pos_embed',
  'embeddings.patch_embeddings.projection': 'patch_embed.proj',
  layernorm: 'norm',
  classifier: 'head',
  cls_classifier: 'head',
  distillation_classifier: 'head_dist',
};
const hfBlockParts: Readonly<Record<string, string>> = {
  layernorm_before: 'norm1',
  layernorm_after: 'norm2',
  'attention.output.dense': 'attn.proj',
  'attention.o_proj': 'attn.proj',
  'intermediate.dense': 'mlp.fc1',
  'mlp.fc1': 'mlp.fc1',
  'output.dense': 'mlp.fc2',
  'mlp.fc2': 'mlp.fc2',
};
const hfProjections: Readonly<Record<string, 0 | 1 | 2>> = {
  'attention.attention.query': 0,
  'attention.attention.key': 1,
  'attention.attention.value': 2,
  'attention.q_proj': 0,
  'attention.k_proj': 1,
  'attention.v_proj': 2,
};

const own = <Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

/** transformers' DeiT and ViT (as which plain DeiT is published): names of 4.x files, and of 5.x in memory. */
export const hfDeitNaming: Naming = {
  label: 'Hugging Face transformers (DeiT, ViT)',
  toTimm(name) {
    const bare = name.replace(/^(deit|vit)\./, '');
    if (/^pooler\.dense\.|^embeddings\.mask_token$/.test(bare)) return 'ignored';
    const whole = own(hfDeitFixed, bare);
    if (whole) return named(whole);
    const [, stem, leaf] = /^(.+)\.(weight|bias)$/.exec(bare) ?? [];
    if (!stem) return null;
    const fixed = own(hfDeitFixed, stem);
    if (fixed) return named(`${fixed}.${leaf}`);
    const [, index, part] = /^(?:encoder\.layer|layers)\.(\d+)\.(.+)$/.exec(stem) ?? [];
    if (!part) return null;
    const projection = own(hfProjections, part);
    if (projection !== undefined) return { name: `blocks.${index}.attn.qkv.${leaf}`, part: projection };
    const renamed = own(hfBlockParts, part);
    return renamed ? named(`blocks.${index}.${renamed}.${leaf}`) : null;
  },
};

/** The first name that stands for `value` in a table. */
const nameOf = <Value>(table: Readonly<Record<string, Value>>, value: Value): string | undefined =>
  Object.keys(table).find((name) => table[name] === value);

/**
 * The names in files of transformers for a tensor of a DeiT: one, or three for the queries, keys and values of a fused
 * qkv. A plain model is its ViT, since its DeiT always has a distillation token.
 */
export function hfDeitNames(name: string, config: DeitConfig): readonly string[] {
  const prefix = config.distilled ? 'deit.' : 'vit.';
  const [, stem = name, leaf = ''] = /^(.+)(\.(?:weight|bias))$/.exec(name) ?? [];
  if (stem === 'head') return [`${hasDistHead(config) ? 'cls_classifier' : 'classifier'}${leaf}`];
  if (stem === 'head_dist') return [`distillation_classifier${leaf}`];
  const fixed = nameOf(hfDeitFixed, stem);
  if (fixed !== undefined) return [`${prefix}${fixed}${leaf}`];
  const [, index, part] = /^blocks\.(\d+)\.(.+)$/.exec(stem) ?? [];
  const layer = `${prefix}encoder.layer.${index}`;
  if (part === 'attn.qkv') return [0, 1, 2].map((third) => `${layer}.${nameOf(hfProjections, third)}${leaf}`);
  return [`${layer}.${nameOf(hfBlockParts, part)}${leaf}`];
}

const letters: Readonly<Record<string, string>> = { a: 'conv1', b: 'conv2', c: 'conv3' };

/** facebookresearch/pycls, whose models take BGR images. */
export const pyclsNaming: Naming = {
  label: 'pycls',
  bgr: true,
  toTimm(name) {
    if (/^(stem\.(conv|bn)|head\.fc)\./.test(name)) return named(name);
    const [, block, part, leaf] = /^(s\d+\.b\d+)\.(.+)\.(\w+)$/.exec(name) ?? [];
    if (!block) return null;
    if (part === 'proj') return named(`${block}.downsample.conv.${leaf}`);
    if (part === 'bn') return named(`${block}.downsample.bn.${leaf}`);
    const [, letter, norm] = /^f\.([abc])(_bn)?$/.exec(part) ?? [];
    if (letter) return named(`${block}.${letters[letter]}.${norm ? 'bn' : 'conv'}.${leaf}`);
    const [, excitation] = /^f\.se\.f_ex\.([02])$/.exec(part) ?? [];
    return excitation ? named(`${block}.se.${excitation === '0' ? 'fc1' : 'fc2'}.${leaf}`) : null;
  },
};

const unit = (index: string): string => (index === '0' ? 'conv' : 'bn');

export const torchvisionNaming: Naming = {
  label: 'torchvision',
  toTimm(name) {
    const [, stemUnit, stemLeaf] = /^stem\.([01])\.(\w+)$/.exec(name) ?? [];
    if (stemUnit) return named(`stem.${unit(stemUnit)}.${stemLeaf}`);
    const [, fcLeaf] = /^fc\.(\w+)$/.exec(name) ?? [];
    if (fcLeaf) return named(`head.fc.${fcLeaf}`);
    const [, stage, again, index, part, leaf] =
      /^trunk_output\.block(\d+)\.block(\d+)-(\d+)\.(.+)\.(\w+)$/.exec(name) ?? [];
    if (!stage || stage !== again) return null;
    const block = `s${stage}.b${Number(index) + 1}`;
    const [, downsampleUnit] = /^proj\.([01])$/.exec(part) ?? [];
    if (downsampleUnit) return named(`${block}.downsample.${unit(downsampleUnit)}.${leaf}`);
    const [, letter, convUnit] = /^f\.([abc])\.([01])$/.exec(part) ?? [];
    if (letter) return named(`${block}.${letters[letter]}.${unit(convUnit)}.${leaf}`);
    const [, excitation] = /^f\.se\.(fc[12])$/.exec(part) ?? [];
    return excitation ? named(`${block}.se.${excitation}.${leaf}`) : null;
  },
};

const hfUnit = (word: string): string => (word === 'convolution' ? 'conv' : 'bn');

const hfRegnetConvs: Readonly<Record<string, string>> = { 0: 'conv1', 1: 'conv2', 3: 'conv3' };

export const hfRegnetNaming: Naming = {
  label: 'Hugging Face transformers (RegNet)',
  toTimm(name) {
    const bare = name.replace(/^regnet\./, '');
    const [, stemUnit, stemLeaf] = /^embedder\.embedder\.(convolution|normalization)\.(\w+)$/.exec(bare) ?? [];
    if (stemUnit) return named(`stem.${hfUnit(stemUnit)}.${stemLeaf}`);
    const [, headLeaf] = /^classifier\.1\.(\w+)$/.exec(bare) ?? [];
    if (headLeaf) return named(`head.fc.${headLeaf}`);
    const [, stage, layer, part, leaf] = /^encoder\.stages\.(\d+)\.layers\.(\d+)\.(.+)\.(\w+)$/.exec(bare) ?? [];
    if (!stage) return null;
    const block = `s${Number(stage) + 1}.b${Number(layer) + 1}`;
    const [, shortcut] = /^shortcut\.(convolution|normalization)$/.exec(part) ?? [];
    if (shortcut) return named(`${block}.downsample.${hfUnit(shortcut)}.${leaf}`);
    const [, excitation] = /^layer\.2\.attention\.([02])$/.exec(part) ?? [];
    if (excitation) return named(`${block}.se.${excitation === '0' ? 'fc1' : 'fc2'}.${leaf}`);
    const [, index, convUnit] = /^layer\.([013])\.(convolution|normalization)$/.exec(part) ?? [];
    const conv = own(hfRegnetConvs, index ?? '');
    return conv ? named(`${block}.${conv}.${hfUnit(convUnit)}.${leaf}`) : null;
  },
};

/** The name in files of transformers for a tensor of a RegNetY. */
export function hfRegnetName(name: string): string {
  const [, stage, block, part = name] = /^s(\d+)\.b(\d+)\.(.+)$/.exec(name) ?? [];
  const [path, leaf] = [part.slice(0, part.lastIndexOf('.')), part.slice(part.lastIndexOf('.') + 1)];
  if (path === 'head.fc') return `classifier.1.${leaf}`;
  const [unit, kind] = [path.slice(0, path.lastIndexOf('.')), path.endsWith('.conv') ? 'convolution' : 'normalization'];
  if (stage === undefined) return `regnet.embedder.embedder.${kind}.${leaf}`;
  const layer = `regnet.encoder.stages.${Number(stage) - 1}.layers.${Number(block) - 1}`;
  if (unit === 'se') return `${layer}.layer.2.attention.${path === 'se.fc1' ? 0 : 2}.${leaf}`;
  if (unit === 'downsample') return `${layer}.shortcut.${kind}.${leaf}`;
  return `${layer}.layer.${nameOf(hfRegnetConvs, unit)}.${kind}.${leaf}`;
}

export const namings: readonly Naming[] = [timmNaming, hfDeitNaming, hfRegnetNaming, torchvisionNaming, pyclsNaming];
