import { DeitError, formatShape, numel, sameShape } from '../../engine/index.ts';
import type { ErrorDetails, Shape } from '../../engine/index.ts';
import { stateMismatch } from '../../nn/index.ts';
import type { Module, StateValue } from '../../nn/index.ts';
import { expectFiniteWeights } from '../non-finite.ts';
import type { HeadClasses } from './classes.ts';
import { arrangeHeads, dropHeads, growDistillationToken, isHead } from './heads.ts';
import { namings, timmNaming } from './naming.ts';
import type { Naming, TimmName } from './naming.ts';
import { resizePositionEmbedding } from './position-embedding.ts';
import type { PositionRule } from './position-embedding.ts';

export interface WeightOptions {
  /** Rule for position embeddings of another resolution. Default `bicubic`, as facebookresearch/deit. */
  posEmbed?: PositionRule;
  /**
   * Heads for another number of classes are left as they were initialised, and a distillation token that the checkpoint
   * lacks starts as its class token, instead of being errors. Default false.
   */
  newHead?: boolean;
  /** What errors call the checkpoint: its file. */
  source?: string;
  /** The model that the checkpoint says it is of, for errors. */
  model?: string;
  /** Classes of the weights and of the model, where the model is for data with named classes: see `alignClasses`. */
  classes?: { readonly head: HeadClasses; readonly wanted: readonly string[] };
}

export interface LoadedWeights {
  /** Library whose names the tensors had. */
  readonly naming: string;
  /** What was done besides renaming, one sentence each. */
  readonly notes: readonly string[];
}

const POSITIONS = 'pos_embed';

/**
 * Loads a checkpoint of timm, facebookresearch/deit, transformers, torchvision or pycls (see `stateValues`) into a model.
 * Throws `state-mismatch`, before anything is changed, with the tensors that are missing, unexpected or misshapen, and
 * `non-finite` if a number is NaN or infinite.
 */
export function loadWeights(
  model: Module,
  given: ReadonlyMap<string, StateValue>,
  { posEmbed = 'bicubic', newHead = false, source = 'the checkpoint', model: stated, classes }: WeightOptions = {},
): LoadedWeights {
  const expected = new Map([...model.stateDict()].map(([name, { shape }]): [string, Shape] => [name, shape]));
  for (const [name] of model.namedCounters()) expected.set(name, []);
  const bare = withoutWrappers(given);
  const naming = recognise(bare.keys(), expected);
  const { values, notes } = toTimmNames(bare, naming, expected);
  if (naming !== timmNaming) notes.unshift(`renamed from ${naming.label} to timm's names`);

  if (newHead) growDistillationToken(values, expected, notes);
  resizePositions(values, expected, posEmbed, notes);
  if (classes) arrangeHeads(values, { ...classes, policy: newHead ? 'any' : 'subset', where: source }, notes);
  else if (newHead) dropHeads(values, expected, notes);
  const missing = [...expected.keys()].filter((name) => !values.has(name));
  const allowed = (name: string): boolean =>
    name.endsWith('num_batches_tracked') || (newHead && isHead(name) && !values.has(name));
  // With everything else in place, a lenient load checks the shapes and changes nothing that is not given.
  if (missing.every(allowed) && [...values.keys()].every((name) => expected.has(name))) {
    expectFiniteWeights(values, source);
    model.loadStateDict(values, { strict: false });
  } else
    throw mismatch(
      values,
      expected,
      missing.filter((name) => !allowed(name)),
      { where: source, ...(stated ? { fix: `name the model that these weights say they are of: ${stated}` } : {}) },
    );
  return { naming: naming.label, notes };
}

function mismatch(
  values: ReadonlyMap<string, StateValue>,
  expected: ReadonlyMap<string, Shape>,
  missing: readonly string[],
  details: ErrorDetails,
): DeitError {
  const misshapen: string[] = [];
  for (const [name, { shape }] of values) {
    const wanted = expected.get(name);
    if (wanted && !sameShape(shape, wanted)) {
      misshapen.push(`${name} ${formatShape(shape)} instead of ${formatShape(wanted)}`);
    }
  }
  const unexpected = [...values.keys()].filter((name) => !expected.has(name));
  return stateMismatch({ missing, unexpected, misshapen }, details);
}

/** Levels that PyTorch puts between names: torch.compile, FullyShardedDataParallel, activation checkpointing. */
const INSIDE = /(?<=^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\./g;
/** Levels around all names: DistributedDataParallel, and keys of training scripts. */
const AROUND = /^(module|model|state_dict|model_state)\./;

/** Names as the model itself has them. */
function withoutWrappers(given: ReadonlyMap<string, StateValue>): ReadonlyMap<string, StateValue> {
  const bare = new Map<string, StateValue>();
  for (const [name, value] of given) {
    const own = name.replaceAll(INSIDE, '');
    if (bare.has(own)) throw twice(own);
    bare.set(own, value);
  }
  const wrapper = AROUND.exec(bare.keys().next().value ?? '')?.[0];
  if (!wrapper || ![...bare.keys()].every((name) => name.startsWith(wrapper))) return bare;
  return withoutWrappers(new Map([...bare].map(([name, value]) => [name.slice(wrapper.length), value])));
}

/** The naming by which most names are those of the model's own tensors. */
function recognise(names: Iterable<string>, expected: ReadonlyMap<string, Shape>): Naming {
  const list = [...names];
  const known = ({ toTimm }: Naming): number =>
    list.filter((name) => {
      const timm = toTimm(name);
      return timm !== null && timm !== 'ignored' && expected.has(timm.name);
    }).length;
  return namings.map((naming) => ({ naming, count: known(naming) })).reduce((a, b) => (b.count > a.count ? b : a))
    .naming;
}

function toTimmNames(
  given: ReadonlyMap<string, StateValue>,
  { toTimm, bgr = false }: Naming,
  expected: ReadonlyMap<string, Shape>,
): { values: Map<string, StateValue>; notes: string[] } {
  const values = new Map<string, StateValue>();
  const notes: string[] = [];
  const parts = new Map<string, StateValue[]>();
  for (const [name, value] of given) {
    const translated = toTimm(name);
    if (translated === 'ignored') {
      notes.push(`left out ${name}, which a classifier does not use`);
      continue;
    }
    const timm: TimmName = translated ?? { name };
    if (timm.part === undefined) {
      if (values.has(timm.name)) throw twice(timm.name);
      values.set(timm.name, value);
    } else {
      const list = parts.get(timm.name) ?? [];
      if (list[timm.part]) throw twice(timm.name);
      list[timm.part] = value;
      parts.set(timm.name, list);
    }
  }
  for (const [name, list] of parts) {
    const joined = join(list);
    if (joined) values.set(name, joined);
    // Left in parts, they show up as unexpected, and the whole as missing.
    else list.forEach((value, part) => values.set(`${name} (${['queries', 'keys', 'values'][part]})`, value));
  }
  const stem = values.get('stem.conv.weight');
  if (bgr && stem && expected.has('stem.conv.weight') && stem.shape.length === 4) {
    values.set('stem.conv.weight', reverseChannels(stem));
    notes.push('flipped the input channels of the stem from BGR to RGB');
  }
  return { values, notes };
}

const twice = (name: string): DeitError =>
  new DeitError('state-mismatch', 'Two tensors of the checkpoint stand for the same one of the model.', {
    where: name,
  });

/** Queries, keys and values as one tensor; null if one is missing or they do not fit together. */
function join(parts: readonly (StateValue | undefined)[]): StateValue | null {
  const [q, k, v] = parts;
  if (!q || !k || !v || q.shape.length === 0 || !sameShape(q.shape, k.shape) || !sameShape(q.shape, v.shape))
    return null;
  const size = numel(q.shape);
  const data = new Float32Array(3 * size);
  [q, k, v].forEach((part, i) => data.set(part.data, i * size));
  return { shape: [3 * q.shape[0], ...q.shape.slice(1)], data };
}

function reverseChannels({ shape, data }: StateValue): StateValue {
  const [, channels, height, width] = shape;
  const plane = height * width;
  const flipped = Float32Array.from(data, (_, i) => {
    const channel = Math.floor(i / plane) % channels;
    return data[i + (channels - 1 - 2 * channel) * plane];
  });
  return { shape, data: flipped };
}

function resizePositions(
  values: Map<string, StateValue>,
  expected: ReadonlyMap<string, Shape>,
  rule: PositionRule,
  notes: string[],
): void {
  const value = values.get(POSITIONS);
  const wanted = expected.get(POSITIONS);
  if (!value || !wanted || value.shape.length !== 3 || sameShape(value.shape, wanted)) return;
  const prefix = expected.has('dist_token') ? 2 : 1;
  const side = (shape: Shape): number => Math.sqrt(shape[1] - prefix);
  const [from, to] = [side(value.shape), side(wanted)];
  const width = wanted[2];
  // Other shapes are reported as misshapen.
  if (!Number.isInteger(from) || from < 1 || value.shape[2] !== width || value.shape[0] !== 1) return;
  const resize = { prefix, from: [from, from], to: [to, to], width, rule } as const;
  values.set(POSITIONS, { shape: wanted, data: resizePositionEmbedding(value.data, resize) });
  notes.push(`resized the position embedding from ${from} x ${from} to ${to} x ${to} by the rule "${rule}"`);
}
