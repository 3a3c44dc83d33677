/** Models by timm's names, with `key=value` options: `deit_tiny_distilled_patch16_224 img_size=32 num_classes=10`. */
import { DeitError, createDryEngine, nearestName } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { describeModule, initScope } from '../../nn/index.ts';
import type { ModelDescription } from '../../nn/index.ts';
import type { Classifier } from './classifier.ts';
import { deitFamily } from './deit-family.ts';
import type { ModelFamily } from './family.ts';
import { formatOptions, parseOptions } from './options.ts';
import type { OptionNames } from './options.ts';
import { regnetyFamily } from './regnety-family.ts';

/** What training code sets besides the name: an option here wins over the same one in the name. */
export interface ModelOverrides {
  /** Stochastic depth; ignored by models without it. */
  dropPath?: number;
  classes?: number;
  imageSize?: number;
}

export interface ModelFacts {
  /** Name and options, in one form whatever aliases they were given under. */
  readonly spec: string;
  readonly imageSize: number;
  readonly inChans: number;
  readonly classes: number;
  readonly distilled: boolean;
}

/** A family with its configuration type forgotten. */
interface Entry {
  resolve(name: string, pairs: readonly string[], overrides: ModelOverrides): Resolved;
}
interface Resolved {
  readonly spec: string;
  create(engine: Engine): Classifier;
  describe(): ModelFacts;
}

function entryOf<Config extends object>(family: ModelFamily<Config>): Entry {
  const names = family.options as OptionNames<Config>;
  return {
    resolve(name, pairs, overrides) {
      const given = parseOptions(pairs, names, name);
      const known = Object.entries(overrides).filter(([key, value]) => value !== undefined && key in names);
      const options = { ...given, ...Object.fromEntries(known) };
      const config = family.config({ ...family.models[name], ...options });
      const spec = [name, ...formatOptions(options, names)].join(' ');
      return {
        spec,
        // The seeds of initial values follow from the name, not from what else was built before.
        create: (engine) => initScope(engine, name, () => family.create(engine, config)),
        describe: () => ({ spec, ...family.facts(config) }),
      };
    },
  };
}

const entries = new Map<string, Entry>();
function register<Config extends object>(family: ModelFamily<Config>): void {
  const entry = entryOf(family);
  for (const name of Object.keys(family.models)) entries.set(name, entry);
}
register(deitFamily);
register(regnetyFamily);

/** What a model of one's own is built for. */
export interface OwnModelConfig {
  readonly imageSize: number;
  readonly inChans: number;
  readonly classes: number;
}

export interface OwnModel {
  /** Square images of this many pixels a side; `img_size` of the name wins. */
  readonly imageSize: number;
  /** Default 1000; `num_classes` of the name, and the classes of the data, win. */
  readonly classes?: number;
  /** Whether `heads` gives logits of a distillation head. Default false. */
  readonly distilled?: boolean;
  readonly create: (engine: Engine, config: OwnModelConfig) => Classifier;
}

/**
 * Gives a model of one's own a name, under which everything in this process takes it: `createModel`, `model.name` and
 * `teacher.model` of recipes, checkpoints, `openModel`. Throws `bad-argument` for a name that is taken or has spaces.
 */
export function registerModel(name: string, { imageSize, classes = 1000, distilled = false, create }: OwnModel): void {
  if (!/^[\w.-]+$/.test(name) || entries.has(name)) {
    throw new DeitError('bad-argument', 'A model needs a name of its own, of letters, digits, dots and dashes.', {
      where: 'registerModel',
      found: name,
    });
  }
  register<OwnModelConfig>({
    models: { [name]: {} },
    options: {
      imageSize: ['img_size', 'image_size'],
      inChans: ['in_chans'],
      classes: ['num_classes', 'classes'],
    },
    config: (options) => ({ imageSize, inChans: 3, classes, ...options }),
    create,
    facts: (config) => ({ ...config, distilled }),
  });
}

/** All names that `createModel` takes. */
export const modelNames = (): string[] => [...entries.keys()];

function resolve(spec: string, overrides: ModelOverrides): Resolved {
  const [name = '', ...pairs] = spec.trim().split(/\s+/);
  const entry = entries.get(name);
  if (entry) return entry.resolve(name, pairs, overrides);
  const near = nearestName(name, entries.keys());
  throw new DeitError('unknown-name', 'There is no model of this name.', {
    found: name,
    expected: `one of ${modelNames().join(', ')}`,
    fix: near ? `did you mean ${near}?` : undefined,
  });
}

/** A model in training mode, with initial values drawn from the engine's seed. Throws `unknown-name` or `bad-config`. */
export function createModel(engine: Engine, spec: string, overrides: ModelOverrides = {}): Classifier {
  return resolve(spec, overrides).create(engine);
}

/** What a name stands for, and what the model takes and gives. */
export function describeModel(spec: string, overrides: ModelOverrides = {}): ModelFacts {
  return resolve(spec, overrides).describe();
}

/** Tensors, layers, parameters and multiply-adds of what `createModel` would make, without a GPU. */
export function summarizeModel(spec: string, overrides: ModelOverrides = {}): ModelFacts & ModelDescription {
  const facts = describeModel(spec, overrides);
  const { imageSize, inChans } = facts;
  const { engine } = createDryEngine();
  try {
    const model = createModel(engine, spec, overrides);
    return { ...facts, ...describeModule(model.describe([inChans, imageSize, imageSize])) };
  } finally {
    engine.close();
  }
}
