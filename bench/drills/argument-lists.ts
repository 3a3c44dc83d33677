/** Argument lists for the drill and the test: sound ones, and changes that make most of them unsound. Node only. */
import fc from 'fast-check';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { serializeSafetensors, storeElements, storeFloats } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { run } from '../../deit/cli/run.ts';
import { summarizeModel } from '../../deit/models/registry.ts';
import { captured } from './captured.ts';
import { smallRecipe } from './drill.ts';

/** Whatever was once tried on a program. Each is a value of some kind that an option wants, or of no kind. */
const NUMBERS = [
  '0',
  '-1',
  '1.5',
  '1e9',
  '1e308',
  '1e309',
  '-0',
  'NaN',
  'Infinity',
  'abc',
  '',
  ' ',
  '0x10',
  '1_000',
  '٣',
];
const TEXTS = [
  '__proto__',
  'constructor',
  'toString',
  '-',
  '--',
  '=',
  'a=b',
  'ä\u0000b',
  '\u001b[2J',
  'x'.repeat(5000),
];
const ASSIGNMENTS = [
  'lr=1',
  'optim.lr',
  'optim.lr=',
  'optim.lr=[[[]]]',
  '=1',
  '__proto__.x=1',
  'data.batchSize=1e9',
  'data.batchSize=0',
  'data.accumulate=1e9',
  'data.accumulate=1e308',
  'data.workers=1e9',
  'model.name=',
  'model.name=deit_tiny_patch16_224 depth=1e9',
  'model.name=deit_tiny_patch16_224 img_size=1e9',
  'model.name=deit_tiny_patch16_224 img_size=NaN',
  'model.name=regnety_002 wm=0 wa=0 depth=-1',
  'schedule.epochs=1e308',
  'augment.policy=rand-m9-n2-',
  'augment.policy=rand-m1e9',
  'augment.scaleMin=2',
  'distillation.type=soft',
  'teacher.weights=/dev/null',
  'run.keep=1e308',
];

/** A small model of two classes. */
const MODEL = 'deit_tiny_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 num_heads=3 num_classes=2';

/** What the lists name: files and folders of every kind. */
class Files {
  private constructor(
    private readonly folder: string,
    private readonly photo: Buffer,
  ) {}

  static async make(folder: string): Promise<Files> {
    const pixels = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 37) & 255);
    const photo = await sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } })
      .png()
      .toBuffer();
    const files = new Files(folder, photo);
    files.restore();
    return files;
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  /** Puts everything back as it was: commands may write over it. */
  restore(): void {
    const { folder, photo } = this;
    for (const name of ['out-run', 'run', 'out.safetensors', 'looks', 'nothing']) {
      rmSync(this.at(name), { recursive: true, force: true });
    }
    const write = (name: string, content: string | Uint8Array): void => writeFileSync(this.at(name), content);
    for (const part of ['train/cat', 'train/dog', 'val/cat', 'val/dog']) {
      mkdirSync(this.at(`photos/${part}`), { recursive: true });
      for (let i = 0; i < 8; i++) write(`photos/${part}/${i}.png`, photo);
    }
    const { spec, tensors } = summarizeModel(MODEL);
    const zeros = tensors.map(({ name, shape }): [string, StoredTensor] => [name, zerosOf(shape)]);
    const how = { imageSize: 32, cropPct: 0.875, interpolation: 'bicubic', data: '' };
    const card = JSON.stringify({ model: spec, classes: ['cat', 'dog'], ...how });
    write('weights.safetensors', serializeSafetensors(new Map(zeros), new Map([['deit-webgpu', card]])));
    const input = new Map([
      ['images', zerosOf([2, 3, 32, 32])],
      ['labels', storeElements('I32', Int32Array.of(0, 1), [2])],
      ['teacher_logits', zerosOf([2, 2])],
    ]);
    write('input.safetensors', serializeSafetensors(input));
    mkdirSync(this.at('nothing'));
    mkdirSync(this.at('run'));
    write('empty', '');
    write('words.txt', 'no header at all, just words\n');
    write('list.txt', 'photos/val/cat/0.png\tcat\n');
    write('classes.txt', 'cat\ndog\n');
    write('null.json', 'null');
    const changes = { model: { name: MODEL, dropPath: 0 }, data: { batchSize: 4, accumulate: 1, workers: 0 } };
    const recipe = JSON.parse(readFileSync(smallRecipe(folder, changes), 'utf8')) as object;
    write('run/config.json', JSON.stringify({ version: '1', command: [], name: 'x', recipe }));
  }

  /** In the place of what a list names. */
  odd(): string[] {
    const names = ['empty', 'words.txt', 'list.txt', 'null.json', 'nothing', 'run', 'photos', 'absent', 'words.txt/x'];
    const own = [...names, 'weights.safetensors', 'recipe.json'].map((name) => this.at(name));
    return [...own, '/dev/null', '', 'a\u0000b', 'x'.repeat(5000)];
  }

  sound(): string[][] {
    const image = this.at('photos/val/cat/0.png');
    const weights = ['--weights', this.at('weights.safetensors')];
    const data = ['--data', this.at('photos')];
    const output = (name: string): string[] => ['--output', this.at(name)];
    const recipe = ['--recipe', this.at('recipe.json'), ...data];
    const length = ['--epochs', '1', '--steps', '1', '--minutes', '1', '--seed', '1'];
    const training = [...recipe, '--set', 'optim.lr=1e-3', ...length, ...output('out-run')];
    const tensors = [
      '--model',
      MODEL,
      ...weights,
      '--input',
      this.at('input.safetensors'),
      ...output('out.safetensors'),
    ];
    const loss = ['--alpha', '0.5', '--tau', '1', '--kl-scaling', 'all', '--smoothing', '0', '--drop-path', '0'];
    const run = this.at('run');
    return [
      ['train', ...training],
      ['train', '--resume', run, ...output('run')],
      ['finetune', ...training, ...weights, '--model', MODEL, '--teacher', this.at('weights.safetensors')],
      ['plan', ...recipe, '--set', 'data.batchSize=8'],
      ['evaluate', ...weights, '--model', MODEL, ...data, '--batch-size', '8', '--unreadable', 'skip'],
      ['predict', ...weights, '--model', MODEL, '--unreadable', 'skip', image],
      [
        'export',
        ...weights,
        '--model',
        MODEL,
        '--dtype',
        'f16',
        '--class-names',
        this.at('classes.txt'),
        ...output('e'),
      ],
      ['export', ...weights, '--format', 'onnx', '--heads', 'average', '--trained-on', 'x', ...output('out.onnx')],
      ['report', run, ...output('out.html')],
      ['compare', run, run, ...output('out.html')],
      ['attention', image, ...weights, '--model', MODEL, ...output('looks')],
      ['summary', 'deit_tiny_patch16_224', 'depth=1', 'img_size=32', '--json'],
      ['logits', ...tensors],
      ['gradients', ...tensors, '--distillation', 'soft', ...loss],
      [
        'profile',
        MODEL,
        '--mode',
        'forward',
        '--batch-size',
        '2',
        '--precision',
        'f32',
        '--trace',
        this.at('trace.json'),
      ],
      ['doctor', '--json'],
      ['recipes', 'quick-demo'],
      ['data', 'cifar100', ...output('cifar')],
    ];
  }
}

const zerosOf = (shape: readonly number[]): StoredTensor =>
  storeFloats(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

type Edit = (args: string[]) => string[];

/** Changes to an argument list. A place is a share of its length. */
function editsOf(odd: readonly string[]): fc.Arbitrary<Edit> {
  const value = fc.oneof(
    fc.constantFrom(...NUMBERS),
    fc.constantFrom(...TEXTS),
    fc.constantFrom(...odd),
    fc.constantFrom(...ASSIGNMENTS),
    fc.string({ maxLength: 12 }),
  );
  const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const at = (args: readonly string[], share: number): number => Math.floor(share * args.length);
  const flags = ['--json', '--help', '--adapter', '--memory', '--no-such-option', '-h', '--version', '--tune'];
  const globals = ['--memory=1', '--memory=abc', '--memory=1e99TB', '--memory=-1', '--adapter=nobody', '--adapter='];
  const weighted = (weight: number, arbitrary: fc.Arbitrary<Edit>) => ({ weight, arbitrary });
  return fc.oneof(
    weighted(
      8,
      fc.tuple(place, value).map(
        ([p, text]): Edit =>
          (args) =>
            args.with(at(args, p), text),
      ),
    ),
    weighted(
      3,
      fc.constantFrom(...ASSIGNMENTS).map((text): Edit => (args) => [...args, '--set', text]),
    ),
    weighted(
      2,
      place.map(
        (p): Edit =>
          (args) =>
            args.toSpliced(at(args, p), 1),
      ),
    ),
    weighted(
      1,
      place.map(
        (p): Edit =>
          (args) =>
            args.toSpliced(at(args, p), 0, args[at(args, p)]),
      ),
    ),
    weighted(
      1,
      fc.tuple(place, value).map(
        ([p, text]): Edit =>
          (args) =>
            args.toSpliced(at(args, p), 0, text),
      ),
    ),
    weighted(
      1,
      fc.constantFrom(...flags).map((flag): Edit => (args) => [...args, flag]),
    ),
    weighted(
      1,
      fc.constantFrom(...globals).map((flag): Edit => (args) => [flag, ...args]),
    ),
  );
}

export interface FuzzedLists {
  readonly lists: number;
  readonly refused: number;
  /** How many lists each command was given first in. */
  readonly commands: ReadonlyMap<string, number>;
}

/** Seconds that a command may take; a training is then asked to stop, as by Ctrl-C. */
const MOST_SECONDS = 60;
const TRAINING_SECONDS = 10;
/** 0, a mistake told, and a training that was stopped. */
const CODES = [0, 1, 130];

/**
 * Runs `count` changed argument lists in this process. Throws a shrunk counterexample for one that ends in another way than
 * with a message. `folder` has to be empty; the process works in a folder of it meanwhile.
 */
export async function fuzzArguments(folder: string, count: number, seed: number): Promise<FuzzedLists> {
  const files = await Files.make(folder);
  const commands = new Map<string, number>();
  let [lists, refused] = [0, 0];
  const sound = files.sound();
  const property = fc.asyncProperty(
    fc.nat(sound.length - 1),
    fc.array(editsOf(files.odd()), { minLength: 1, maxLength: 3 }),
    async (which, edits) => {
      const args = edits.reduce((list, edit) => (list.length > 0 ? edit(list) : list), sound[which]);
      files.restore();
      // For whoever finds the folder of a process that died.
      writeFileSync(files.at('last.json'), JSON.stringify(args));
      const began = performance.now();
      const stop = setTimeout(() => process.emit('SIGINT'), 1000 * TRAINING_SECONDS);
      const { result: code, err, out } = await captured(() => run(args)).finally(() => clearTimeout(stop));
      process.exitCode = undefined;
      lists++;
      if (code !== 0) refused++;
      commands.set(sound[which][0], (commands.get(sound[which][0]) ?? 0) + 1);
      const seconds = (performance.now() - began) / 1000;
      const complaint =
        seconds > MOST_SECONDS
          ? `it took ${seconds.toFixed(0)} s`
          : !CODES.includes(code)
            ? `it ended with ${code}`
            : /\n {4}at |^\w*Error: |\[object Object\]/m.test(err)
              ? 'it ended with a raw error'
              : code !== 0 && `${err}${out}`.trim() === ''
                ? 'it failed without a word'
                : null;
      if (complaint) throw new Error(`deit ${JSON.stringify(args)}: ${complaint}\n${err.slice(-3000)}`);
    },
  );
  const before = process.cwd();
  mkdirSync(files.at('cwd'));
  process.chdir(files.at('cwd'));
  try {
    await fc.assert(property, { numRuns: count, seed, endOnFailure: true });
  } finally {
    process.chdir(before);
  }
  return { lists, refused, commands };
}
