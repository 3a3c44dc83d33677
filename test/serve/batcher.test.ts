import { describe, expect, it } from 'vitest';
import { Batcher, Busy } from '../../deit/serve/batcher.ts';

/** A batcher that squares numbers, and records its batches. */
function squares({ size = 4, waitMs = 1, room = 100 } = {}) {
  const batches: number[][] = [];
  const run = async (items: readonly number[]): Promise<number[]> => {
    batches.push([...items]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (items.includes(13)) throw new Error('13 is bad');
    return items.map((item) => item * item);
  };
  return { batches, batcher: new Batcher({ run, size, waitMs, room }) };
}

describe('Batcher', () => {
  it('joins what comes at a time, in order, and gives each its own results', async () => {
    const { batches, batcher } = squares();
    const results = await Promise.all([[1], [2, 3], [4, 5, 6], [7]].map((items) => batcher.submit(items)));
    expect(results).toEqual([[1], [4, 9], [16, 25, 36], [49]]);
    expect(batches).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7],
    ]);
    expect(batcher.done).toEqual({ batches: 2, items: 7 });
  });

  it('lets what comes while a batch runs wait for the next one', async () => {
    const { batches, batcher } = squares({ waitMs: 0 });
    const first = batcher.submit([1]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([first, batcher.submit([2]), batcher.submit([3])]);
    expect(batches).toEqual([[1], [2, 3]]);
  });

  it('fails only the item that is at fault', async () => {
    const { batcher } = squares();
    const outcomes = await Promise.allSettled([[1], [13], [3]].map((items) => batcher.submit(items)));
    expect(outcomes).toEqual([
      { status: 'fulfilled', value: [1] },
      { status: 'rejected', reason: new Error('13 is bad') },
      { status: 'fulfilled', value: [9] },
    ]);
  });

  it('refuses what there is no room for, and takes more when there is', async () => {
    const { batcher } = squares({ size: 1, room: 2 });
    const two = batcher.submit([1, 2]);
    await expect(batcher.submit([3, 4])).rejects.toBeInstanceOf(Busy);
    await two;
    expect(await batcher.submit([3])).toEqual([9]);
  });

  it('leaves out what nobody waits for any more', async () => {
    const { batches, batcher } = squares({ size: 1 });
    const gone = new AbortController();
    const outcomes = Promise.allSettled([batcher.submit([1]), batcher.submit([2], gone.signal), batcher.submit([3])]);
    gone.abort();
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(batches).toEqual([[1], [3]]);
  });
});
