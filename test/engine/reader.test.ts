/** What becomes of a read that fails, whether anybody listens or not. */
import { describe, expect, it } from 'vitest';
import { readPromise } from '../../engine/gpu/reader.ts';
import type { Reader } from '../../engine/gpu/reader.ts';
import { unhandled } from '../support/unhandled.ts';

const unheard = (work: (reader: Reader) => void): Promise<unknown[]> =>
  unhandled(() => work(readPromise((content) => content).reader));

describe('a read that fails', () => {
  const reason = new Error('the list was refused');

  it('ends a program that does not listen to it, unless that has closed the engine', async () => {
    expect(await unheard((reader) => reader.reject(reason))).toEqual([reason]);
    expect(await unheard((reader) => reader.reject(reason, true))).toEqual([]);
    expect(await unheard((reader) => reader.abandon(reason))).toEqual([]);
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
