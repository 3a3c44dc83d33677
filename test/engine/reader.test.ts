/** What becomes of a read that fails, whether anybody listens or not. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { readPromise } from '../../engine/gpu/reader.ts';
import type { Reader } from '../../engine/gpu/reader.ts';

/** Rejections that nobody listens to, of what is done with a read: they end a program. */
async function unhandled(work: (reader: Reader) => void): Promise<unknown[]> {
  const found: unknown[] = [];
  const others = process.rawListeners('unhandledRejection') as ((reason: unknown) => void)[];
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', (reason) => found.push(reason));
  work(readPromise((content) => content).reader);
  await nextTurn();
  process.removeAllListeners('unhandledRejection');
  for (const listener of others) process.on('unhandledRejection', listener);
  return found;
}

describe('a read that fails', () => {
  const reason = new Error('the list was refused');

  it('ends a program that does not listen to it, unless that has closed the engine', async () => {
    expect(await unhandled((reader) => reader.reject(reason))).toEqual([reason]);
    expect(await unhandled((reader) => reader.reject(reason, true))).toEqual([]);
    expect(await unhandled((reader) => reader.abandon(reason))).toEqual([]);
  });

  it('is told to whoever asks', async () => {
    for (const fail of [(reader: Reader) => reader.reject(reason), (reader: Reader) => reader.abandon(reason)]) {
      const { promise, reader } = readPromise((content) => content);
      fail(reader);
      await expect(Promise.all([promise])).rejects.toBe(reason);
    }
  });
});

it('a read is what is made of the content, and of the caller unless the engine says that it is for itself', async () => {
  const { promise, reader } = readPromise((content) => content.byteLength);
  reader.resolve(new ArrayBuffer(12));
  expect(await promise).toBe(12);
  expect(reader.isOwn).toBe(false);
  expect(readPromise((content) => content, true).reader.isOwn).toBe(true);
});
