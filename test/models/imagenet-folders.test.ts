/** Class folders named as ImageNet names its classes, for models that know these by short names. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { headClasses, imagenetClasses } from '../../deit/train/node/class-names.ts';
import type { ModelCard } from '../../deit/weights/model-card.ts';
import { alignClasses } from '../../deit/weights/classes.ts';
import { deit, lastJson } from '../support/command.ts';

describe('folders of ImageNet', () => {
  // Places of classes as torchvision and timm number them, by WordNet id; two names of each kind stand for two classes.
  const places = {
    n01440764: 0,
    n02012849: 134, // crane, the bird
    n02123045: 281, // tabby
    n03126707: 517, // crane, the machine
    n03710637: 638, // maillot
    n03710721: 639, // maillot, tank suit
    n15075141: 999,
  };
  const head = headClasses({ classes: imagenetClasses() } as unknown as ModelCard);
  const align = (wanted: readonly string[]) =>
    alignClasses({ head, count: 1000, wanted, policy: 'subset', where: 'shipped' });

  it('are matched by WordNet id, alone or before a name', () => {
    const ids = Object.keys(places);
    for (const end of ['', '_name', '-Some_name', ' some name']) {
      expect(align(ids.map((id) => id + end)).rows).toEqual(Object.values(places));
    }
    // The numbers of ImageNet's classes follow their ids.
    const all = head.names!.map((names) => names.find((name) => /^n\d{8}$/.test(name))!);
    expect(all).toEqual([...all].sort());
    expect(new Set(all).size).toBe(1000);
  });

  it('are matched by the words of their synsets, and a word for two classes is told', () => {
    expect(align(['tench, Tinca tinca', 'tabby, tabby cat', 'toilet tissue, toilet paper, bathroom tissue']).rows).toEqual([0, 281, 999]); // prettier-ignore
    expect(() => align(['tench', 'crane'])).toThrow(/of several classes of the weights: crane[^]*by WordNet ids/);
  });

  it('are evaluated class by class', async () => {
    const root = mkdtempSync(join(tmpdir(), 'deit-wordnet-'));
    for (const id of ['n15075141', 'n01440764', 'n02123045']) {
      mkdirSync(join(root, id));
      await sharp({ create: { width: 40, height: 30, channels: 3, background: 'red' } }).jpeg().toFile(join(root, id, `${id}_0.JPEG`)); // prettier-ignore
    }
    const { out } = await deit('evaluate', '--data', root, '--json');
    rmSync(root, { recursive: true });
    const { perClass, images } = lastJson<{ images: number; perClass: { class: number; images: number }[] }>(out);
    expect(images).toBe(3);
    expect(perClass.filter((one) => one.images > 0).map((one) => one.class)).toEqual([0, 281, 999]);
  });
});
