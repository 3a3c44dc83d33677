import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fuzz, targets } from '../../bench/drills/hostile.ts';
import type { Target } from '../../bench/drills/hostile.ts';
import { openData } from '../../deit/data/node/open.ts';
import { parseRecipe } from '../../deit/recipe/resolve.ts';

/** The drill `hostile-files` has 22,000 inputs; these are other ones of the same kinds. */
const INPUTS = 400;

let folder = '';
let all: Target[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deit-hostile-'));
  all = await targets(folder);
});
afterAll(async () => {
  for (const target of all) await target.close?.();
  rmSync(folder, { recursive: true, force: true });
});

describe('mutated files', () => {
  it('are read soundly or refused by name, and a good part of them is refused behind the first check', async () => {
    expect(all.map(({ name }) => name)).toContain('safetensors');
    for (const target of all) {
      const { inputs, deep, accepted, codes } = await fuzz(target, INPUTS, 77);
      expect(inputs).toBe(INPUTS);
      expect(deep).toBe(INPUTS / 2);
      expect(inputs - accepted).toBeGreaterThan(INPUTS / 4);
      expect(
        [...codes.keys()].every((code) => ['file-corrupt', 'bad-data', 'bad-config', 'state-mismatch'].includes(code)),
      ).toBe(true);
    }
  });
});

describe('files from strangers', () => {
  it('lists nested deeper than they could be printed are refused as recipes', () => {
    const deep = `{"optim.lr": ${'['.repeat(5000)}${']'.repeat(5000)}}`;
    expect(() => parseRecipe(deep, 'deep.json')).toThrow(expect.objectContaining({ code: 'bad-config' }));
  });

  it('links out of the folder of a data set are not followed where the user says so', async () => {
    const [outside, set] = [join(folder, 'outside'), join(folder, 'set')];
    for (const part of ['a', 'b']) mkdirSync(join(set, part), { recursive: true });
    mkdirSync(outside);
    writeFileSync(join(outside, 'secret.png'), 'secret');
    symlinkSync(join(outside, 'secret.png'), join(set, 'a', '1.png'));
    writeFileSync(join(set, 'list.txt'), ['a', 'b'].flatMap((label) => [1, 2].map((i) => `${label}/${i}.png\t${label}\n`)).join('')); // prettier-ignore
    for (const name of ['a/2', 'b/1', 'b/2']) symlinkSync(join(outside, 'secret.png'), join(set, `${name}.png`));
    const { train } = await openData(join(set, 'list.txt'), { valFraction: 0.5, links: 'inside' });
    await expect(openData(set, { links: 'inside' })).rejects.toMatchObject({ code: 'bad-data' });
    await expect(train.image(0)).rejects.toMatchObject({ code: 'bad-data' });
  });
});
