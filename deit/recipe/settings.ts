/**
 * Every hyper-parameter, once: its default, its range, what it means and where the paper has it. Recipe files, `--set`,
 * the resolved configuration of a run and the reference in the documentation all come from this table.
 * Defaults are those of the DeiT paper's Table 9 (arXiv 2012.12877 v2) and facebookresearch/deit's arguments.
 */
interface Described {
  readonly about: string;
  /** Table or section of the paper, or the argument of facebookresearch/deit that it follows. */
  readonly source?: string;
}
export interface NumberSetting extends Described {
  readonly kind: 'number' | 'integer';
  readonly default: number;
  readonly min?: number;
  readonly max?: number;
}
export interface OptionalNumberSetting extends Described {
  readonly kind: 'number?' | 'integer?';
  readonly default: number | null;
  readonly min?: number;
  readonly max?: number;
}
export interface FlagSetting extends Described {
  readonly kind: 'flag';
  readonly default: boolean;
}
export interface TextSetting extends Described {
  readonly kind: 'text';
  readonly default: string;
}
export interface OptionalTextSetting extends Described {
  readonly kind: 'text?';
  readonly default: string | null;
}
export interface ChoiceSetting<Choice extends string> extends Described {
  readonly kind: 'choice';
  readonly default: Choice;
  readonly choices: readonly Choice[];
}
export type Setting =
  NumberSetting | OptionalNumberSetting | FlagSetting | TextSetting | OptionalTextSetting | ChoiceSetting<string>;

type Rest<S extends Setting> = Omit<S, 'kind' | 'default' | 'about'>;
const number = (value: number, about: string, rest: Rest<NumberSetting> = {}): NumberSetting => ({
  kind: 'number',
  default: value,
  about,
  ...rest,
});
const integer = (value: number, about: string, rest: Rest<NumberSetting> = {}): NumberSetting => ({
  ...number(value, about, rest),
  kind: 'integer',
});
const optional = (value: number | null, about: string, rest: Rest<NumberSetting> = {}): OptionalNumberSetting => ({
  kind: 'number?',
  default: value,
  about,
  ...rest,
});
const optionalInteger = (about: string, rest: Rest<OptionalNumberSetting> = {}): OptionalNumberSetting => ({
  ...optional(null, about, rest),
  kind: 'integer?',
});
const flag = (value: boolean, about: string, source?: string): FlagSetting => ({
  kind: 'flag',
  default: value,
  about,
  source,
});
const text = (value: string, about: string, source?: string): TextSetting => ({
  kind: 'text',
  default: value,
  about,
  source,
});
const optionalText = (value: string | null, about: string, source?: string): OptionalTextSetting => ({
  kind: 'text?',
  default: value,
  about,
  source,
});
const choice = <Choice extends string>(
  choices: readonly Choice[],
  value: Choice,
  about: string,
  source?: string,
): ChoiceSetting<Choice> => ({ kind: 'choice', default: value, choices, about, source });

const probability = { min: 0, max: 1 };
/** Of AdamW and SGD: at 1 nothing new would ever count. */
const decay = { min: 0, max: 0.999999999 };
/** Far above any use, and low enough that what is computed from it stays a number that a file can hold. */
const MOST_STEPS = 1e9;
const MOST_IMAGES = 2 ** 24;

export const settings = {
  'model.name': text('deit_tiny_distilled_patch16_224', 'timm model name, with options as `key=value`', 'Table 1'),
  'model.weights': optionalText(null, 'safetensors to start from; null starts from random weights'),
  'model.precision': choice(
    ['f32', 'f16'],
    'f32',
    'f16 computes the products of models on f16 with f32 sums, with f32 master weights and dynamic loss scaling, on adapters with shader-f16',
    'engine.py trains under torch.cuda.amp',
  ),
  'model.recompute': flag(
    false,
    'compute the activations of each block of a DeiT once more in the backward pass instead of keeping them: less memory, more time',
  ),
  'model.dropPath': number(0.1, 'stochastic depth: rate of the last block, rising linearly from 0', {
    ...probability,
    source: 'Table 9',
  }),
  'model.posEmbed': choice(
    ['bicubic', 'timm'],
    'bicubic',
    'rule for resizing position embeddings to another resolution',
    '§6',
  ),

  'data.path': text(
    'cifar10-sample',
    'folder of images, of CIFAR binaries, of tar shards or of Parquet files (or `name-{000..127}.tar`), or a list file; `cifar10-sample` ships with the package',
  ),
  'data.valPath': optionalText(null, 'list file of the held-out images, where data.path is a list file'),
  'data.root': optionalText(
    null,
    'folder that the paths of list files are relative to, and must stay in; null: the folder of the list',
  ),
  'data.labelColumn': optionalText(
    null,
    'column of the labels in Parquet files that have several, such as fine_label of CIFAR-100',
  ),
  'data.links': choice(
    ['follow', 'inside'],
    'follow',
    'links that lead out of the folder of the data: follow them, as torchvision does, or refuse them',
  ),
  'data.valFraction': number(0.2, 'part held out by seed where the data has no validation split', probability),
  'data.folds': optional(null, 'divide such data into this many folds by seed instead, to hold each out in turn', {
    min: 2,
    max: 1000,
  }),
  'data.fold': integer(1, 'the fold that is held out, from 1 to data.folds', { min: 1, max: 1000 }),
  'data.batchSize': integer(1024, 'images in one optimizer step', { min: 1, max: MOST_IMAGES, source: 'Table 9' }),
  'data.accumulate': integer(
    1,
    'micro-batches that one optimizer step is gathered from, over all ranks; where neither recipe nor options say it, as many as there are ranks',
    { min: 1, max: MOST_IMAGES },
  ),
  'data.workers': integer(1, 'threads that decode and augment; 0 does it in the main thread', { min: 0, max: 64 }),
  'data.cache': optionalText(
    null,
    'folder for decoded, reduced images, so that later epochs need not decode; null for none',
  ),
  'data.cacheSide': integer(320, 'shorter side of cached images in pixels; larger ones are reduced to it', {
    min: 32,
    max: 8192,
  }),
  'data.sampler': choice(
    ['random', 'balanced'],
    'random',
    'random: each training image once an epoch, in random order; balanced: as many images, drawn with replacement so that each class is equally likely',
    'balanced: WeightedRandomSampler of PyTorch, with weights 1 / images of the class',
  ),
  'data.classWeights': optionalText(
    null,
    'weights of the classes in the loss with the labels: balanced (images / (classes x images of the class)), numbers in the order of the classes (1,2.5,1), or of some by name, 1 for the others (cat=2,dog=0.5); null: all alike',
    'weight of CrossEntropyLoss of PyTorch',
  ),
  'data.unreadable': choice(['fatal', 'skip'], 'fatal', 'what to do with an image that cannot be read'),
  'data.maxUnreadable': number(
    0.1,
    'with skip: part of the training, or of the held-out images that may be left out; more of them, or all of a class, stop the run',
    probability,
  ),

  'augment.crop': choice(
    ['auto', 'resized', 'padded'],
    'auto',
    'random resized crop, or padded crop for images of 32 pixels',
    'datasets.py',
  ),
  'augment.padding': integer(4, 'pixels around a padded crop', { min: 0, max: 1024, source: 'datasets.py' }),
  'augment.scaleMin': number(0.08, 'smallest part of the area that a resized crop keeps', { min: 1e-3, max: 1 }),
  'augment.flip': number(0.5, 'probability of a horizontal flip', probability),
  'augment.policy': optionalText(
    'rand-m9-mstd0.5-inc1',
    'RandAugment or AutoAugment in timm notation; null for none',
    'Table 9, --aa',
  ),
  'augment.colorJitter': number(0.3, 'strength of colour jitter; used only without a policy', {
    min: 0,
    max: 1,
    source: '--color-jitter',
  }),
  'augment.erasing': number(0.25, 'probability of random erasing', { ...probability, source: 'Table 9, --reprob' }),
  'augment.mixup': number(0.8, 'alpha of mixup; 0 switches it off', { min: 0, max: 1000, source: 'Table 9, --mixup' }),
  'augment.cutmix': number(1, 'alpha of cutmix; 0 switches it off', { min: 0, max: 1000, source: 'Table 9, --cutmix' }),
  'augment.mixProbability': number(1, 'probability that a batch is mixed', { ...probability, source: '--mixup-prob' }),
  'augment.mixSwitch': number(0.5, 'probability of cutmix where both are on', {
    ...probability,
    source: '--mixup-switch-prob',
  }),
  'augment.repeats': integer(3, 'views of an image in one epoch (repeated augmentation)', {
    min: 1,
    max: 16,
    source: 'Table 9',
  }),
  'augment.repeatsStrided': flag(
    false,
    'deal the views of an image out to the micro-batches of a step in turn, instead of keeping them together',
    'samplers.py deals them out to the GPUs',
  ),
  'augment.interpolation': choice(['bicubic', 'bilinear'], 'bicubic', 'resampling of crops', '--train-interpolation'),
  'augment.smoothing': number(0.1, 'label smoothing', { ...probability, source: 'Table 9' }),

  'optim.name': choice(['adamw', 'sgd'], 'adamw', 'optimizer', 'Table 9'),
  'optim.lr': number(5e-4, 'base learning rate', { min: 0, max: 1e6, source: 'Table 9' }),
  'optim.scaleLr': flag(true, 'scale the learning rate by batch / 512', 'Table 9, --unscale-lr'),
  'optim.weightDecay': number(0.05, 'weight decay', { min: 0, max: 1e6, source: 'Table 9' }),
  'optim.decayDistToken': flag(true, 'decay dist_token too, as the released code does', 'timm 0.3.2'),
  'optim.beta1': number(0.9, 'AdamW', decay),
  'optim.beta2': number(0.999, 'AdamW', decay),
  'optim.eps': number(1e-8, 'AdamW', { min: 0, max: 1, source: '--opt-eps' }),
  'optim.momentum': number(0.9, 'SGD', { ...decay, source: '--momentum' }),
  'optim.clip': optional(null, 'largest global gradient norm; null for no clipping', {
    min: 0,
    max: 1e30,
    source: 'Table 9, --clip-grad',
  }),
  'optim.freezeBlocks': integer(0, 'embedding and first blocks of a DeiT that are not trained; 0 trains all', {
    min: 0,
    max: 1000,
  }),
  'optim.freeze': text('', 'comma-separated name prefixes of parameters that are not trained'),
  'optim.headOnly': flag(false, 'train the heads alone'),
  'optim.ema': optional(null, 'decay of the moving average of the weights; null for none', {
    min: 0,
    max: 1,
    source: '--model-ema-decay',
  }),

  'schedule.epochs': number(300, 'passes over the training images', { min: 0, max: 1e5, source: 'Table 9' }),
  'schedule.minutes': optional(null, 'stop after about this long: the number of steps is fitted to the machine', {
    min: 0,
    max: 1e7,
  }),
  'schedule.steps': optionalInteger('number of optimizer steps; overrides epochs', { min: 1, max: MOST_STEPS }),
  'schedule.warmupEpochs': number(5, 'linear warmup', { min: 0, max: 1e5, source: 'Table 9' }),
  'schedule.warmupLr': number(1e-6, 'learning rate at the start of the warmup', {
    min: 0,
    max: 1e6,
    source: '--warmup-lr',
  }),
  'schedule.minLr': number(1e-5, 'learning rate at the end', { min: 0, max: 1e6, source: '--min-lr' }),
  'schedule.per': choice(
    ['epoch', 'step'],
    'epoch',
    'how often the learning rate changes; the original changes it each epoch',
    '--sched cosine',
  ),

  'distillation.type': choice(['none', 'soft', 'hard'], 'none', 'how the teacher is used', '§4, --distillation-type'),
  'distillation.alpha': number(0.5, 'weight of the distillation term', {
    ...probability,
    source: '--distillation-alpha',
  }),
  'distillation.tau': number(1, 'temperature of soft distillation', {
    min: 1e-3,
    max: 1000,
    source: '--distillation-tau',
  }),
  'distillation.scaling': choice(
    ['all', 'batchmean'],
    'all',
    'KL divided by batch x classes (the released code) or by batch',
    'losses.py',
  ),
  'teacher.model': optionalText(null, 'model name of the teacher', '§5.2'),
  'teacher.weights': optionalText(null, 'safetensors of the teacher; null trains it first', '--teacher-path'),
  'teacher.share': number(0.3, 'part of the time or steps that training the teacher takes', { min: 0.01, max: 0.9 }),
  'teacher.lr': number(0.1, "peak learning rate of the teacher's SGD, per 256 images", { min: 0, max: 1e6 }),
  'teacher.weightDecay': number(5e-5, "weight decay of the teacher's SGD", { min: 0, max: 1e6 }),

  'parallel.bucketMB': optional(
    null,
    'on several ranks: megabytes of gradients that leave at a time while the backward pass goes on; 0 sends all at its end; null: 25 on GPUs, 0 on software adapters',
    { min: 0, max: 1e5, source: 'bucket_cap_mb of DistributedDataParallel' },
  ),
  'parallel.wire': choice(
    ['f32', 'f16'],
    'f32',
    'what gradients travel as between ranks: f16 halves the bytes and rounds them, with loss scaling, on adapters with shader-f16',
  ),

  'run.seed': integer(0, 'seed of every random draw', { min: 0, max: 2 ** 32 - 1, source: '--seed' }),
  'run.trainMode': flag(
    true,
    'train with stochastic depth; off when fine-tuning at another resolution',
    '--no-train-mode',
  ),
  'run.evaluateEvery': number(1, 'epochs between evaluations; 0 evaluates at the end alone', { min: 0, max: 1e5 }),
  'run.patience': optionalInteger(
    'end the training of the student early after this many evaluations in a row without a better held-out accuracy; the best weights are kept; null: never',
    { min: 1, max: 1e6 },
  ),
  'run.tensorboard': flag(
    false,
    'write the figures as TensorBoard event files too, into the folder tensorboard of the run',
  ),
  'run.checkpointEvery': integer(500, 'steps between checkpoints', { min: 1, max: MOST_STEPS }),
  'run.onSaveError': choice(['stop', 'continue'], 'stop', 'when a checkpoint cannot be written'),
  'run.nonFinite': choice(
    ['stop', 'skip'],
    'stop',
    'when NaN or infinity turns up in the loss or a gradient: name the operator and stop, or leave the step out',
  ),
  'run.tune': flag(
    false,
    'measure on this adapter which kernel variants are fastest for the sizes at hand (half a minute at most, kept in a cache) and use those; the run and its checkpoints remember them',
  ),
  'run.keep': integer(2, 'checkpoints that are kept', { min: 1, max: 1e6 }),
} as const;

export type SettingName = keyof typeof settings;

type ValueOf<S> =
  S extends ChoiceSetting<infer Choice>
    ? Choice
    : S extends { kind: 'number' | 'integer' }
      ? number
      : S extends { kind: 'number?' | 'integer?' }
        ? number | null
        : S extends { kind: 'flag' }
          ? boolean
          : S extends { kind: 'text?' }
            ? string | null
            : string;

/** A complete set of hyper-parameters, by their dotted names. */
export type Recipe = { -readonly [Name in SettingName]: ValueOf<(typeof settings)[Name]> };
export type SettingValue = number | string | boolean | null;

export const settingNames = Object.keys(settings) as SettingName[];

export const defaultRecipe = (): Recipe =>
  Object.fromEntries(settingNames.map((name) => [name, settings[name].default])) as Recipe;
