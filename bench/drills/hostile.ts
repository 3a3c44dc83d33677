/** Mutated files for the drill and the test: what they are made of, who reads them, and what counts as sound. Node only. */
import fc from 'fast-check';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import sharp from 'sharp';
import { createEngine, DeitError, numel, parseSafetensors, serializeSafetensors } from '../../engine/node.ts';
import type { StoredTensor } from '../../engine/node.ts';
import { AdamW, Linear, decayGroups } from '../../nn/index.ts';
import { cifar10, cifar10Classes, encodeCifar10Record, parseCifar } from '../../deit/data/cifar.ts';
import { decodeLimits } from '../../deit/data/image-limits.ts';
import { decodeBytes } from '../../deit/data/node/decode.ts';
import { parseList } from '../../deit/data/node/list-file.ts';
import { parseRecipe, resolveRecipe } from '../../deit/recipe/resolve.ts';
import { settingNames } from '../../deit/recipe/settings.ts';
import { latestCheckpoint, saveCheckpoint } from '../../deit/train/node/run-state.ts';
import { bodyFrom, headerChange, jsonChanges, sealedChange, shallow } from './mutations.ts';
import type { Change } from './mutations.ts';

/** A reader of files and what it is fed with. */
export interface Target {
  readonly name: string;
  /** Percent of all inputs. */
  readonly share: number;
  /** A sound file to start from. */
  readonly seeds: readonly Uint8Array[];
  /** Changes that get past the first check: to the values inside a header, to a body, to a line. */
  readonly deep: fc.Arbitrary<Change>;
  /** Reads the file; throws a `DeitError` if it refuses it, and something else if what it accepted is unsound. */
  read(file: Uint8Array): unknown;
  close?(): void | Promise<void>;
}

export interface Fuzzed {
  readonly inputs: number;
  readonly deep: number;
  readonly accepted: number;
  readonly codes: ReadonlyMap<string, number>;
}

/** Seconds that one input may take. */
const MOST_SECONDS = 10;

/** Feeds `inputs` mutated files to a reader, half of them with deep changes. Throws a shrunk counterexample. */
export async function fuzz(target: Target, inputs: number, seed: number): Promise<Fuzzed> {
  const codes = new Map<string, number>();
  let [accepted, deep, done] = [0, 0, 0];
  const change = (isDeep: boolean) => (isDeep ? target.deep : shallow);
  for (const isDeep of [false, true]) {
    const numRuns = isDeep ? Math.ceil(inputs / 2) : Math.floor(inputs / 2);
    if (numRuns === 0) continue;
    const property = fc.asyncProperty(fc.nat(target.seeds.length - 1), change(isDeep), async (which, mutate) => {
      const file = mutate(target.seeds[which]);
      done++;
      if (isDeep) deep++;
      const began = performance.now();
      try {
        await target.read(file);
        accepted++;
      } catch (error) {
        if (!(error instanceof DeitError))
          throw new Error(`${target.name}: not refused by a DeitError: ${reproduction(file)}`, { cause: error });
        codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
      }
      const seconds = (performance.now() - began) / 1000;
      if (seconds > MOST_SECONDS) throw new Error(`${target.name}: one file took ${seconds.toFixed(1)} s`);
    });
    await fc.assert(property, { numRuns, seed });
  }
  if (Object.hasOwn(Object.prototype, 'polluted')) throw new Error(`${target.name}: Object.prototype was written to`);
  return { inputs: done, deep, accepted, codes };
}

const reproduction = (file: Uint8Array): string =>
  JSON.stringify(Buffer.from(file.subarray(0, 600)).toString('latin1'));

function sound(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`accepted although ${what}`);
}

const f32 = (values: number[], shape: number[]): StoredTensor => ({
  dtype: 'F32',
  shape,
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

function safetensors(): Target {
  const tensors = new Map([
    ['a.weight', f32([1, 2, 3, 4, 5, 6], [2, 3])],
    ['b', f32([7], [])],
    ['none', f32([], [0, 4])],
  ]);
  const file = serializeSafetensors(tensors, new Map([['format', 'pt']]));
  return {
    name: 'safetensors',
    share: 28,
    seeds: [file],
    deep: headerChange,
    read(bytes) {
      const read = parseSafetensors(bytes);
      let total = 0;
      for (const { dtype, shape, bytes: content } of read.tensors.values()) {
        const size = {
          F64: 8,
          I64: 8,
          U64: 8,
          F32: 4,
          I32: 4,
          U32: 4,
          F16: 2,
          BF16: 2,
          I16: 2,
          U16: 2,
          I8: 1,
          U8: 1,
          BOOL: 1,
        }[dtype];
        sound(content.byteLength === numel(shape) * size, 'a shape does not fit its bytes');
        total += content.byteLength;
      }
      const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      sound(total === bytes.byteLength - 8 - length, 'tensors leave gaps or overlap');
    },
  };
}

async function checkpoints(folder: string): Promise<Target> {
  const engine = await createEngine();
  const model = new Linear(engine, 3, 2);
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05));
  const trained = { model, optimizer, ema: null };
  const run = join(folder, 'hostile-run');
  mkdirSync(run);
  const path = await saveCheckpoint(
    run,
    1,
    { role: 'student', step: 3, steps: 9, seconds: 1 },
    trained,
    engine.variants.export(),
    {
      card: {
        model: 'deit_tiny_patch16_224',
        classes: ['a', 'b'],
        imageSize: 32,
        cropPct: 1,
        interpolation: 'bicubic',
        data: 'x',
      },
      inputs: { data: 'f'.repeat(64), start: { path: '/a', bytes: 1, sha256: 'f'.repeat(64) }, teacher: null },
    },
  );
  return {
    name: 'checkpoints',
    share: 14,
    seeds: [Uint8Array.from(readFileSync(path))],
    deep: sealedChange,
    async read(bytes) {
      writeFileSync(path, bytes);
      const checkpoint = await latestCheckpoint(run, () => undefined);
      sound(checkpoint !== null, 'there is no checkpoint');
      const { step, steps } = checkpoint.position;
      sound(Number.isInteger(step) && Number.isInteger(steps) && step >= 0, 'its position is no number of steps');
      const { card, inputs } = checkpoint;
      sound(card === null || card.classes.every((name) => typeof name === 'string'), 'a class has no name');
      sound(inputs === null || typeof inputs.data === 'string', 'its data has no checksum');
      checkpoint.restore(trained);
      engine.flush();
    },
    close: () => engine.close(),
  };
}

function recipes(): Target {
  const text = JSON.stringify({
    model: { name: 'deit_tiny_patch16_224', dropPath: 0.1 },
    data: { batchSize: 64, path: 'cifar10-sample' },
    'optim.lr': 1e-3,
    optim: { clip: null, scaleLr: false },
  });
  return {
    name: 'recipes',
    share: 18,
    seeds: [Buffer.from(text)],
    deep: jsonChanges(3),
    read(bytes) {
      const recipe = resolveRecipe(parseRecipe(Buffer.from(bytes).toString('utf8'), 'hostile.json'));
      sound(Object.keys(recipe).length === settingNames.length, 'it has settings that do not exist');
      sound(
        settingNames.every((name) => typeof recipe[name] !== 'number' || Number.isFinite(recipe[name])),
        'a number is not finite',
      );
    },
  };
}

function cifar(): Target {
  const record = (label: number): Uint8Array =>
    encodeCifar10Record(
      label,
      Uint8Array.from({ length: 3072 }, (_, i) => (i * 7 + label) & 255),
    );
  const file = Buffer.concat([record(0), record(9), record(4)]);
  const RECORD = 3073;
  return {
    name: 'CIFAR binaries',
    share: 14,
    seeds: [file],
    // Whole records with labels of any value: past the check of the length.
    deep: fc.array(fc.tuple(fc.nat(2), fc.nat(255)), { minLength: 1, maxLength: 3 }).map((labels) => (bytes) => {
      const changed = bytes.slice();
      for (const [which, label] of labels) changed[which * RECORD] = label;
      return changed;
    }),
    async read(bytes) {
      const dataset = parseCifar(cifar10, [{ name: 'hostile.bin', bytes }], cifar10Classes, 'train');
      sound(dataset.length * RECORD === bytes.length && dataset.length > 0, 'its length is no whole number of records');
      for (let i = 0; i < dataset.length; i++) sound(dataset.label(i) < 10, 'a label is no class');
      await dataset.image(dataset.length - 1);
    },
  };
}

async function images(): Promise<Target> {
  const raw = { width: 24, height: 16, channels: 3 as const };
  const pixels = Uint8Array.from({ length: 24 * 16 * 3 }, (_, i) => (i * 37) & 255);
  const seeds = await Promise.all([
    sharp(pixels, { raw }).png().toBuffer(),
    sharp(pixels, { raw }).jpeg().toBuffer(),
    sharp(pixels, { raw }).webp().toBuffer(),
  ]);
  return {
    name: 'images',
    share: 8,
    seeds,
    // Behind the signatures.
    deep: bodyFrom(24),
    async read(bytes) {
      const { width, height, data } = await decodeBytes(bytes, 'hostile');
      sound(data.length === width * height * 3, 'it has not three bytes a pixel');
      sound(
        Math.max(width, height) <= decodeLimits.maxSide && width * height <= decodeLimits.maxPixels,
        'it is too large',
      );
    },
  };
}

function lists(): Target {
  const root = resolve('/data/set');
  const paths = [
    '../x.jpg',
    'a/../../x.jpg',
    '/etc/passwd',
    'C:/x.png',
    '..\\x.png',
    'a/./b.png',
    '....//x',
    '\u0000',
    'x\ty',
    'ok/a.png',
  ];
  const line = fc.tuple(
    fc.oneof(fc.constantFrom(...paths), fc.string({ maxLength: 20 })),
    fc.constantFrom('0', 'cat', '', ' ', '\t', '9'.repeat(400)),
  );
  return {
    name: 'list files',
    share: 18,
    seeds: [Buffer.from('# images\ncat/one.jpg\tcat\ndog/two.png\tdog\n\ndog/three.png\tdog\n')],
    deep: fc
      .array(line, { minLength: 1, maxLength: 4 })
      .map(
        (added) => (file) =>
          Buffer.concat([file, Buffer.from(added.map((fields) => `${fields.join('\t')}\n`).join(''))]),
      ),
    read(bytes) {
      const { paths, labels } = parseList(Buffer.from(bytes).toString('utf8'), 'hostile.txt', root);
      for (const path of paths) {
        sound(
          resolve(root, path).startsWith(root + sep) || resolve(root, path) === root,
          `${path} leads out of the folder`,
        );
      }
      sound(labels.length === paths.length && !labels.includes(''), 'a label is empty');
    },
  };
}

/** All readers of files that may come from strangers. `folder` is for those that read from the disk. */
export const targets = async (folder: string): Promise<Target[]> => [
  safetensors(),
  await checkpoints(folder),
  recipes(),
  cifar(),
  await images(),
  lists(),
];
