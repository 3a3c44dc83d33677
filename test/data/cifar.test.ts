import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  parseClassNames,
  cifar10,
  cifar100,
  cifar10Classes,
  encodeCifar10Record,
  parseCifar,
  recordBytes,
} from '../../deit/data/cifar.ts';
import { countClasses, MemoryDataset, SubsetDataset } from '../../deit/data/dataset.ts';
import { assetPath } from '../../deit/data/node/assets.ts';
import { packageRoot } from '../../engine/node.ts';
import { cifar10SampleFolder, openCifar } from '../../deit/data/node/cifar-files.ts';

const folders: string[] = [];
function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'deit-cifar-'));
  folders.push(folder);
  return folder;
}
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

/** A record whose plane bytes are a stated function of channel, row and column. */
function record(labels: number[], value: (channel: number, y: number, x: number) => number): Uint8Array {
  const bytes = [...labels];
  for (let c = 0; c < 3; c++) for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) bytes.push(value(c, y, x));
  return Uint8Array.from(bytes);
}
const join2 = (a: Uint8Array, b: Uint8Array): Uint8Array => Uint8Array.from([...a, ...b]);

describe('CIFAR records', () => {
  it('turns planes into interleaved pixels, labels into numbers, files into one set', async () => {
    const a = record([7], (c, y, x) => (c * 80 + y + x) % 256);
    const b = record([2], (c) => c);
    const set = parseCifar(
      cifar10,
      [
        { name: 'a.bin', bytes: a },
        { name: 'b.bin', bytes: b },
      ],
      cifar10Classes,
      'train',
    );
    expect([set.length, set.label(0), set.label(1)]).toEqual([2, 7, 2]);
    const image = await set.image(0);
    expect([image.width, image.height, image.data.length]).toEqual([32, 32, 3072]);
    const pixel = (y: number, x: number): number[] => [...image.data.subarray((y * 32 + x) * 3, (y * 32 + x) * 3 + 3)];
    expect(pixel(0, 0)).toEqual([0, 80, 160]);
    expect(pixel(3, 31)).toEqual([34, 114, 194]);
    expect([...(await set.image(1)).data.subarray(0, 6)]).toEqual([0, 1, 2, 0, 1, 2]);
    expect(encodeCifar10Record(7, image.data)).toEqual(a);
  });

  it('takes the fine label of CIFAR-100', () => {
    const classes = Array.from({ length: 100 }, (_, i) => `class ${i}`);
    const set = parseCifar(cifar100, [{ name: 'c.bin', bytes: record([19, 99], () => 5) }], classes, 'val');
    expect([set.label(0), set.split, set.classes[99]]).toEqual([99, 'val', 'class 99']);
    const bad = { name: 'c.bin', bytes: record([20, 99], () => 5) };
    expect(() => parseCifar(cifar100, [bad], classes, 'val')).toThrow(/c\.bin, record 0[^]*coarse label 20/);
  });

  it('names file and record of what is wrong', () => {
    const good = record([9], () => 1);
    const parse = (bytes: Uint8Array): MemoryDataset =>
      parseCifar(cifar10, [{ name: 'x/data_batch_1.bin', bytes }], cifar10Classes, 'train');
    expect(() => parse(good.subarray(0, 3072))).toThrow(/file-corrupt[^]*x\/data_batch_1\.bin[^]*3072 bytes/);
    expect(() => parse(new Uint8Array(0))).toThrow(/file-corrupt/);
    expect(() =>
      parse(
        join2(
          good,
          record([10], () => 1),
        ),
      ),
    ).toThrow(/data_batch_1\.bin, record 1[^]*found: 10/);
  });

  it('accepts exactly the byte strings of whole records with labels in range', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 14 }), { maxLength: 4 }),
        fc.integer({ min: -2, max: 2 }),
        (labels, extra) => {
          const bytes = new Uint8Array(Math.max(0, labels.length * recordBytes(cifar10) + extra));
          labels.forEach((label, i) => {
            if (i * recordBytes(cifar10) < bytes.length) bytes[i * recordBytes(cifar10)] = label;
          });
          const isGood = extra === 0 && labels.length > 0 && labels.every((label) => label < 10);
          const parse = (): MemoryDataset => parseCifar(cifar10, [{ name: 'f', bytes }], cifar10Classes, 'train');
          if (isGood) expect(Array.from(labels, (_, i) => parse().label(i))).toEqual(labels);
          else expect(parse).toThrow(/file-corrupt/);
        },
      ),
      { numRuns: 100, seed: 1 },
    );
  });
});

describe('CIFAR folders', () => {
  it('ships a class-balanced sample whose bytes are those its README states', async () => {
    const { train, val } = await openCifar(cifar10SampleFolder());
    expect([train.length, val.length]).toEqual([2400, 500]);
    expect([...countClasses(train)]).toEqual(Array<number>(10).fill(240));
    expect([...countClasses(val)]).toEqual(Array<number>(10).fill(50));
    expect(train.classes).toEqual(cifar10Classes);
    const readme = readFileSync(assetPath('cifar10', 'README.md'), 'utf8');
    const stated = [...readme.matchAll(/([0-9a-f]{32}) {2}(\S+)/g)];
    expect(stated).toHaveLength(6);
    for (const [, md5, name] of stated) {
      expect(
        createHash('md5')
          .update(readFileSync(assetPath('cifar10', name)))
          .digest('hex'),
      ).toBe(md5);
    }
    // No held-out image may also be a training image.
    const key = async (set: typeof train, i: number): Promise<string> => {
      return createHash('md5')
        .update((await set.image(i)).data)
        .digest('hex');
    };
    const seen = new Set<string>();
    for (let i = 0; i < train.length; i++) seen.add(await key(train, i));
    for (let i = 0; i < val.length; i++) expect(seen.has(await key(val, i))).toBe(false);
  });

  it('reports missing, truncated and foreign files', async () => {
    const folder = temporaryFolder();
    await expect(openCifar(folder)).rejects.toThrow(/bad-data[^]*no CIFAR binary files/);
    copyFileSync(assetPath('cifar10', 'data_batch_1.bin'), join(folder, 'data_batch_1.bin'));
    await expect(openCifar(folder)).rejects.toThrow(/file-unreadable[^]*test_batch\.bin/);
    copyFileSync(assetPath('cifar10', 'test_batch.bin'), join(folder, 'test_batch.bin'));
    const { train } = await openCifar(folder); // class names are known without batches.meta.txt
    expect([train.length, train.classes[3]]).toEqual([480, 'cat']);
    writeFileSync(join(folder, 'batches.meta.txt'), 'one\ntwo\n');
    await expect(openCifar(folder)).rejects.toThrow(/batches\.meta\.txt[^]*2 names/);
    rmSync(join(folder, 'batches.meta.txt'));
    truncateSync(join(folder, 'data_batch_1.bin'), 100_000);
    await expect(openCifar(folder)).rejects.toThrow(/data_batch_1\.bin[^]*32 records and 1664 bytes/);
  });

  it('reads CIFAR-100 folders and batches in numerical order', async () => {
    const hundred = temporaryFolder();
    writeFileSync(
      join(hundred, 'train.bin'),
      record([1, 42], () => 9),
    );
    writeFileSync(
      join(hundred, 'test.bin'),
      record([1, 43], () => 9),
    );
    writeFileSync(join(hundred, 'fine_label_names.txt'), Array.from({ length: 100 }, (_, i) => `n${i}\n`).join(''));
    const { train, val } = await openCifar(hundred);
    expect([train.label(0), val.label(0), train.classes.length]).toEqual([42, 43, 100]);
    const ten = temporaryFolder();
    for (const [batch, label] of [
      [1, 1],
      [10, 4],
      [2, 3],
    ]) {
      writeFileSync(
        join(ten, `data_batch_${batch}.bin`),
        record([label], () => 0),
      );
    }
    writeFileSync(
      join(ten, 'test_batch.bin'),
      record([0], () => 0),
    );
    const set = (await openCifar(ten)).train;
    expect([set.label(0), set.label(1), set.label(2)]).toEqual([1, 3, 4]);
  });
});

describe('data sets', () => {
  it('finds the package from its own name', () => {
    expect(JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'))).toMatchObject({
      name: 'deit-webgpu',
    });
    expect(() => assetPath('no-such-file')).toThrow(/file-unreadable[^]*no-such-file/);
  });

  it('refuses indices outside, and takes parts of a set', async () => {
    const pixels = Uint8Array.from({ length: 3 * 12 }, (_, i) => i);
    const set = new MemoryDataset({
      name: 'm',
      split: 'train',
      classes: ['a', 'b'],
      imageSize: 2,
      labels: Uint8Array.of(0, 1, 1),
      pixels,
    });
    expect(() => set.label(3)).toThrow(/0 to 2/);
    expect(() => set.label(-1)).toThrow(/bad-argument/);
    expect(() => set.image(0.5)).toThrow(/bad-argument/);
    const part = new SubsetDataset(set, Uint32Array.of(2, 0), 'val');
    expect([part.length, part.label(0), part.label(1), part.split]).toEqual([2, 1, 0, 'val']);
    expect((await part.image(0)).data[0]).toBe(24);
    expect(() => part.label(2)).toThrow(/0 to 1/);
    expect(
      () =>
        new MemoryDataset({ name: 'm', split: 'val', classes: ['a'], imageSize: 2, labels: Uint8Array.of(0), pixels }),
    ).toThrow(/bad-data/);
  });
});

describe('lists of class names', () => {
  it('are read as editors on any system write them', () => {
    for (const text of ['cat\ndog\n', '\ufeffcat\r\ndog', 'cat\n\ndog \n']) {
      expect(parseClassNames(text)).toEqual(['cat', 'dog']);
    }
  });
});
