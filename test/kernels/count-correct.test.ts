import { describe, expect, it } from 'vitest';
import { countCorrect } from '../../engine/node.ts';
import { countCorrectReference } from '../../kernels/count-correct/reference.ts';
import { LOSS_CASES } from '../cases/losses.ts';
import { labelsOf } from '../support/losses.ts';
import { PROFILES, useEngineAs } from '../support/device-profiles.ts';

describe.each(PROFILES)('countCorrect on $name', ({ claims, variant }) => {
  const engine = useEngineAs(claims, variant);
  const cases = LOSS_CASES.filter(({ width }) => width * 4 * 64 <= (claims.maxBindingSize ?? Infinity));

  it('top-k hits', async () => {
    for (const { name, rows, width, other } of cases) {
      const labels = labelsOf(rows, width);
      for (const k of [1, 5]) {
        const count = countCorrect(engine().tensor(other, [rows, width]), engine().tensor(labels, [rows], 'i32'), k);
        expect(await count.item(), `${name}, top ${k}`).toBe(countCorrectReference({ rows, width, k }, other, labels));
      }
    }
  });
});

describe('edges of countCorrect', () => {
  const engine = useEngineAs({});

  it('the first of equal logits is the hit', async () => {
    for (const width of [5, 8]) {
      const logits = new Float32Array(width).fill(1.5);
      logits[0] = 0;
      const hit = (label: number, k = 1) =>
        countCorrect(engine().tensor(logits, [1, width]), engine().tensor([label], [1], 'i32'), k).item();
      expect([await hit(0), await hit(1), await hit(2), await hit(2, 2), await hit(0, width)]).toEqual([0, 1, 0, 1, 1]);
    }
  });

  it('a label that is no class is never a hit', async () => {
    for (const label of [-1, 4, 2 ** 31 - 1]) {
      const labels = engine().tensor([1, label], [2], 'i32');
      const logits = engine().tensor([0, 1, 0, 0, 0, 0, 0, 0], [2, 4]);
      expect(await countCorrect(logits, labels, 4).item()).toBe(1);
    }
  });

  it('NaN among the logits is no hit', async () => {
    const logits = engine().tensor([NaN, NaN, NaN, NaN], [1, 4]);
    expect(await countCorrect(logits, engine().tensor([0], [1], 'i32')).item()).toBe(0);
  });

  it('mistakes are named', () => {
    const gpu = engine();
    const [z, labels] = [gpu.zeros([2, 3]), gpu.tensor([0, 1], [2], 'i32')];
    expect(() => countCorrect(z, labels, 0)).toThrow(/at least 1/);
  });
});
