/** How the folders of a data set are understood. Expectations are those of the data sets that people have; no image is decoded. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { splitOf } from '../../deit/data/node/layout.ts';
import { openData, openPart } from '../../deit/data/node/open.ts';
import { defaultRecipe } from '../../deit/recipe/settings.ts';
import { leftOutOfEpochs } from '../../deit/train/setup.ts';

let base: string;
let root: string;
let count = 0;
beforeAll(() => void (base = mkdtempSync(join(tmpdir(), 'deit-layout-'))));
beforeEach(() => {
  root = join(base, `set${count++}`);
  mkdirSync(root);
});
afterAll(() => rmSync(base, { recursive: true }));

/** Makes empty files. `cat{3}` stands for cat/0.png to cat/2.png. */
function make(...paths: string[]): void {
  for (const path of paths) {
    const [, folder, number] = /^(.*)\{(\d+)\}$/.exec(path) ?? [];
    const files =
      folder === undefined ? [path] : Array.from({ length: Number(number) }, (_, i) => `${folder}/${i}.png`);
    for (const file of files) {
      mkdirSync(join(root, dirname(file)), { recursive: true });
      writeFileSync(join(root, file), '');
    }
  }
}

/** What a training makes of the folder: numbers of images, classes, and the lines about it after the first. */
async function trained() {
  const { train, val, split, notes } = await openData(root, { valFraction: 0.5 });
  return { train: train.length, val: val.length, split, classes: train.classes, notes: notes.slice(1) };
}

/** What an evaluation measures. */
async function measured(split?: 'train' | 'val' | 'test') {
  const { dataset, notes } = await openPart(root, split);
  const paths = Array.from({ length: dataset.length }, (_, i) => dataset.path!(i).slice(root.length + 1));
  return { paths, classes: dataset.classes, notes: notes.slice(1) };
}

describe('names of parts', () => {
  it.each([
    ['train', 'train'],
    ['Training', 'train'],
    ['TRAIN', 'train'],
    ['training_set', 'train'],
    ['seg_train', 'train'],
    ['train2017', 'train'],
    ['TrainData', 'train'],
    ['val', 'val'],
    ['Valid', 'val'],
    ['validation', 'val'],
    ['dev', 'val'],
    ['test', 'test'],
    ['Testing', 'test'],
    ['test-images', 'test'],
    ['test1', 'test'],
    ['cat', undefined],
    ['images', undefined],
    ['bullet train', undefined],
    ['testament', undefined],
    ['constructor', undefined],
  ])('%s: %s', (name, split) => expect(splitOf(name)).toBe(split));
});

describe('folders with parts', () => {
  it.each([
    ['train', 'valid', 'test'],
    ['Train', 'Val', 'Test'],
    ['training', 'validation', 'testing'],
    ['train', 'dev', 'test'],
  ])('%s, %s, %s: trained on, held out, left alone', async (train, val, test) => {
    make(`${train}/cat{4}`, `${train}/dog{3}`, `${val}/cat{2}`, `${val}/dog{1}`, `${test}/cat{1}`, `${test}/dog{1}`);
    const { notes, ...rest } = await trained();
    expect(rest).toEqual({ train: 7, val: 3, split: 'given', classes: ['cat', 'dog'] });
    expect(notes).toEqual([
      `parts: ${train}/ 7 images, ${val}/ 3 images, ${test}/ 2 images (not used; \`deit evaluate --split test\` measures on it)`,
    ]);
    expect((await measured()).paths).toEqual([`${val}/cat/0.png`, `${val}/cat/1.png`, `${val}/dog/0.png`]);
    expect((await measured('test')).paths).toEqual([`${test}/cat/0.png`, `${test}/dog/0.png`]);
    expect((await measured('train')).paths).toHaveLength(7);
  });

  it('train and test alone: a part of train is held out, test is never trained on, and is what is measured', async () => {
    make('Training/cat{4}', 'Training/dog{4}', 'Testing/cat{2}', 'Testing/dog{2}');
    const { notes, ...rest } = await trained();
    expect(rest).toMatchObject({ train: 4, val: 4, split: 'drawn' });
    expect(notes).toEqual([
      'parts: Training/ 8 images, Testing/ 4 images (not used; `deit evaluate --split test` measures on it)',
      'held out: 0.5 of every class, drawn by seed 0',
    ]);
    const { paths, notes: said } = await measured();
    expect(paths.every((path) => path.startsWith('Testing/'))).toBe(true);
    expect(said.at(-1)).toBe('measured: Testing/, 4 images');
    await expect(measured('val')).rejects.toThrow(/no images for "val"[^]*Training\/, Testing\/[^]*--split/);
  });

  it('val or test alone: measured, not trained on', async () => {
    make('val/cat{2}', 'val/dog{1}');
    await expect(trained()).rejects.toThrow(/no training images[^]*val\/ alone[^]*set\d+\/val/);
    expect((await measured()).paths).toHaveLength(3);
  });

  it('no parts: measured whole', async () => {
    make('cat{2}', 'dog{3}');
    const { paths, classes, notes } = await measured();
    expect([paths.length, classes, notes]).toEqual([5, ['cat', 'dog'], ['measured: all images, 5 images']]);
    await expect(measured('test')).rejects.toThrow(/not divided into parts/);
  });

  it('deeper down, in the one folder that has them', async () => {
    make(
      'photos/images/train/cat{2}',
      'photos/images/train/dog{2}',
      'photos/images/val/cat{1}',
      'photos/images/val/dog{1}',
    );
    make('photos/labels/train/0.txt', 'photos/README.md', 'cover.jpg');
    const { notes, ...rest } = await trained();
    expect(rest).toMatchObject({ train: 4, val: 2, split: 'given' });
    expect(notes).toEqual([
      'parts: photos/images/train/ 4 images, photos/images/val/ 2 images',
      'read from photos',
      'read from photos/images',
      'left out: 1 folder beside images (photos/labels); 1 image in no class folder (cover.jpg)',
    ]);
  });

  it('wrapped once more, as downloads have it', async () => {
    make(
      'seg_train/seg_train/sea{2}',
      'seg_train/seg_train/ice{2}',
      'seg_test/seg_test/sea{1}',
      'seg_test/seg_test/ice{1}',
    );
    expect(await trained()).toMatchObject({ train: 2, val: 2, classes: ['ice', 'sea'] });
    expect((await measured()).paths).toEqual(['seg_test/seg_test/ice/0.png', 'seg_test/seg_test/sea/0.png']);
  });

  it('unlabelled test images are named and left out', async () => {
    make('train/cat{2}', 'train/dog{2}', 'test{5}');
    expect((await trained()).notes).toContain('test holds 5 images, but no class folders: left out');
  });

  it('a folder beside several parts is named and left out', async () => {
    make('train/cat{2}', 'train/dog{2}', 'val/cat{1}', 'samples{3}', '__MACOSX/train/cat{1}', '.git/x.png');
    const { notes, ...rest } = await trained();
    expect(rest).toMatchObject({ train: 4, val: 1 });
    expect(notes.at(-1)).toBe('left out: 1 folder beside train, val (samples)');
  });

  it('parts may lack classes but have no others, and only who uses them is stopped', async () => {
    make('train/cat{2}', 'train/dog{2}', 'val/cat{1}', 'test/cow{1}');
    expect(await trained()).toMatchObject({ train: 4, val: 1 });
    await expect(measured('test')).rejects.toThrow(/class that train lacks[^]*cow/);
  });
});

describe('folders with two readings', () => {
  it.each([
    [
      'two names of one part',
      ['train/a{2}', 'train/b{2}', 'val/a{1}', 'valid/a{1}'],
      /val and valid both name validation/,
    ],
    ['one name in two cases', ['train/a{2}', 'train/b{2}', 'Train/a{2}'], /Train and train both name training/],
    ['train beside class folders', ['train/a{2}', 'train/b{2}', 'cat{2}', 'dog{2}'], /two ways[^]*train[^]*cat, dog/],
    ['val beside class folders', ['cat{2}', 'dog{2}', 'val/cat{1}', 'val/dog{1}'], /two ways[^]*val[^]*cat, dog/],
    ['test images beside class folders', ['cat{2}', 'dog{2}', 'test{4}'], /two ways[^]*test[^]*cat, dog/],
    [
      'parts within classes',
      ['cat/train{2}', 'cat/test{2}', 'dog/train{2}', 'dog/test{2}'],
      /within its classes[^]*test\/cat/,
    ],
    ['several data sets', ['a/train/x{1}', 'a/val/x{1}', 'b/train/x{1}', 'b/val/x{1}'], /a, b each hold the parts/],
    ['images without classes', ['train{3}', 'test{2}'], /not in class folders/],
  ])('%s', async (_, paths, message) => {
    make(...paths);
    await expect(trained()).rejects.toThrow(message);
    await expect(measured()).rejects.toThrow(message);
  });

  it('a folder of photographed trains is a class', async () => {
    make('bus{2}', 'car{2}', 'train{2}');
    const { classes, notes } = await trained();
    expect(classes).toEqual(['bus', 'car', 'train']);
    expect(notes).toContain('train holds images itself: it is read as a class');
  });
});

describe('folds', () => {
  it('hold every image out exactly once, by class', async () => {
    make('cat{7}', 'dog{5}');
    const heldOut: string[] = [];
    for (const fold of [1, 2, 3]) {
      const { train, val } = await openData(root, { folds: 3, fold, seed: 4 });
      expect(train.length + val.length).toBe(12);
      const paths = Array.from({ length: val.length }, (_, i) => val.path!(i));
      // 7 = 2 + 2 + 3 and 5 = 1 + 2 + 2.
      expect([2, 3]).toContain(paths.filter((path) => path.includes('/cat/')).length);
      expect([1, 2]).toContain(paths.filter((path) => path.includes('/dog/')).length);
      heldOut.push(...paths);
    }
    expect(new Set(heldOut).size).toBe(12);
    expect(heldOut).toHaveLength(12);
    await expect(openData(root, { folds: 3, fold: 4 })).rejects.toThrow(/no such fold/);
  });

  it('are refused where the data has validation images', async () => {
    make('train/cat{3}', 'train/dog{3}', 'val/cat{1}');
    await expect(openData(root, { folds: 3, fold: 1 })).rejects.toThrow(/not divided into folds[^]*data\.folds/);
  });
});

describe('small sets', () => {
  it('are told what an epoch leaves out, and which batch does not', () => {
    const recipe = (batch: number) => ({ ...defaultRecipe(), 'data.batchSize': batch, 'augment.repeats': 1 });
    // 60 = 32 + 28, and 2 x 30.
    expect(leftOutOfEpochs(recipe(32), 60)).toEqual([
      expect.stringMatching(/uses 32 of 60 .*data\.batchSize=30 it uses 60/),
    ]);
    expect(leftOutOfEpochs(recipe(30), 60)).toEqual([]);
    expect(leftOutOfEpochs(recipe(64), 2400)).toEqual([]);
  });
});

describe('class names', () => {
  it('are in the order of their texts, as torchvision has them, which is said of numbers', async () => {
    make(...Array.from({ length: 12 }, (_, i) => `${i}{2}`));
    const { classes, notes } = await trained();
    // sorted(str(i) for i in range(12)) in Python.
    expect(classes).toEqual(['0', '1', '10', '11', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect(notes.join()).toContain('class 4 is "2", after "11"');
  });

  it('order by characters, not by UTF-16 units', async () => {
    make('\u{1f600}{2}', '\uff21{2}', 'z{2}');
    // sorted(['z', '\uff21', '\U0001f600']) in Python.
    expect((await trained()).classes).toEqual(['z', '\uff21', '\u{1f600}']);
  });

  it('are the same in composed and in decomposed form', async () => {
    make('train/caf\u00e9{2}', 'train/th\u00e9{2}', 'val/cafe\u0301{1}', 'val/the\u0301{1}');
    const { classes, val } = await trained();
    expect([classes, val]).toEqual([['caf\u00e9', 'th\u00e9'], 2]);
    make('train/cafe\u0301{2}');
    await expect(trained()).rejects.toThrow(/same name/);
  });
});

describe('what is left out', () => {
  it('is counted and named once a kind', async () => {
    make(
      'cat{2}',
      'cat/a.HEIC',
      'cat/b.heic',
      'cat/c.svg',
      'cat/notes.txt',
      'dog{2}',
      'dog/raw.NEF',
      'dog/._0.png',
      'x.jpg',
    );
    expect((await trained()).notes.at(-1)).toBe(
      'left out: 2 files in HEIC format, which is not read (for example cat/a.HEIC); ' +
        '1 file in RAW format, which is not read (dog/raw.NEF); 1 file in SVG format, which is not read (cat/c.svg); ' +
        '1 file of no image format (cat/notes.txt); 1 hidden file named as an image (dog/._0.png); 1 image in no class folder (x.jpg)',
    );
  });

  it('is told where a class has nothing else', async () => {
    make('cat{2}', 'dog/a.heic', 'dog/b.heic');
    await expect(trained()).rejects.toThrow(/none in dog; 2 files in HEIC format/);
  });
});

describe('links', () => {
  it('to folders are followed wherever they lead, and those that leave are named', async () => {
    make('set/cat{2}', 'store/dogs{3}');
    symlinkSync(join(root, 'store/dogs'), join(root, 'set/dog'));
    const outer = root;
    root = join(root, 'set');
    const { notes, ...rest } = await trained();
    expect(rest).toMatchObject({ classes: ['cat', 'dog'], train: 2, val: 3 });
    expect(notes.at(-1)).toBe('read through links out of the folder: dog (data.links=inside refuses them)');
    await expect(openData(root, { links: 'inside' })).rejects.toThrow(/leads out[^]*set\/dog/);
    root = outer;
  });

  it('in a circle are not followed again', async () => {
    make('cat/more{2}', 'dog{2}');
    symlinkSync(root, join(root, 'cat/more/all'));
    symlinkSync(join(root, 'cat'), join(root, 'dog/cat'));
    symlinkSync(join(root, 'dog'), join(root, 'cat/dog'));
    // cat: its own two, and dog's two through the link; dog likewise.
    const { train, val, notes } = await trained();
    expect(train + val).toBe(8);
    expect(notes.at(-1)).toContain('links back to a folder that it lies in');
  });

  it('that lead nowhere are found when they are read', async () => {
    make('cat{2}', 'dog{2}');
    symlinkSync(join(root, 'gone.png'), join(root, 'dog/gone.png'));
    const { dataset } = await openPart(root, undefined);
    expect(dataset.length).toBe(5);
    await expect(dataset.image(4)).rejects.toThrow(/file-unreadable[^]*gone\.png/);
  });
});

describe('list files', () => {
  const write = (name: string, text: string): string => {
    writeFileSync(join(root, name), text);
    return join(root, name);
  };
  const open = (file: string, options = {}) => openData(file, { valFraction: 0.5, ...options });

  it('may begin with a byte order mark and have Windows line ends', async () => {
    const list = write('list.txt', '\ufeffa/1.png\tx\r\na/2.png\tx\r\nb/1.png\ty\r\nb/2.png\ty\r\n');
    const { train, val } = await open(list);
    expect([train.classes, train.length, val.length]).toEqual([['x', 'y'], 2, 2]);
  });

  it('order negative numbers as numbers', async () => {
    const labels = [10, -2, 3, -10, 0];
    const list = write(
      'list.txt',
      labels.flatMap((label) => [1, 2].map((i) => `${label}/${i}.png\t${label}`)).join('\n'),
    );
    const { train, notes } = await open(list);
    expect(train.classes).toEqual(['-10', '-2', '0', '3', '10']);
    expect(notes.at(-1)).toContain('class 0 is "-10"');
  });

  it('take an image once, say so, and refuse two labels for it', async () => {
    const lines = ['a/1.png\tx', 'a/2.png\tx', './a/1.png\tx', 'b/1.png\ty', 'b/../b/2.png\ty', 'b/2.png\ty'];
    const { train, val, notes } = await open(write('list.txt', lines.join('\n')));
    expect(train.length + val.length).toBe(4);
    expect(notes.at(-1)).toBe('list.txt names 2 images twice, which are taken once (for example a/1.png)');
    await expect(open(write('two.txt', [...lines, 'a/1.png\ty'].join('\n')))).rejects.toThrow(
      /line 7[^]*"x" before[^]*"y"/,
    );
  });

  it('join labels of both Unicode forms', async () => {
    const list = write('list.txt', '1\tcaf\u00e9\n2\tcafe\u0301\n3\tz\n4\tz\n');
    expect((await open(list)).train.classes).toEqual(['caf\u00e9', 'z']);
  });

  it('are measured whole, or the held-out list', async () => {
    const list = write('list.txt', 'a/1.png\tx\na/2.png\tx\nb/1.png\ty\n');
    const heldOut = write('val.txt', 'b/9.png\ty\n');
    expect((await openPart(list, undefined)).dataset.length).toBe(3);
    const { dataset, notes } = await openPart(list, undefined, { valFile: heldOut });
    expect([dataset.length, notes.at(-1)]).toEqual([1, 'measured: val.txt, 1 images']);
  });

  it('have paths relative to another folder, or absolute ones within it', async () => {
    make('photos/a/1.png');
    const list = write('list.txt', `a/1.png\tx\n${root}/photos/a/2.png\tx\nb/1.png\ty\nb/2.png\ty\n`);
    const { dataset } = await openPart(list, undefined, { root: join(root, 'photos') });
    expect([0, 1].map((i) => dataset.path!(i))).toEqual([join(root, 'photos/a/1.png'), join(root, 'photos/a/2.png')]);
    await expect(openPart(list, undefined, { root: join(root, 'else') })).rejects.toThrow(
      /leaves the folder[^]*data\.root/,
    );
  });
});
