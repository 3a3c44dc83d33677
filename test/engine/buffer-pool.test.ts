/** The pool of GPU buffers on a device that only counts: what is handed out, accounted for, and let go of. */
import { setTimeout as wait } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../engine/gpu/buffer-pool.ts';
import { Storage } from '../../engine/gpu/storage.ts';

const KiB = 1024;

/** A pool of so many bytes, and of its buffers those that the device has destroyed. */
function poolOf(budget: number) {
  const destroyed: number[] = [];
  const device = {
    limits: { maxBufferSize: 2 ** 30 },
    createBuffer: ({ size }: GPUBufferDescriptor) => ({ destroy: () => destroyed.push(size) }),
  } as unknown as GPUDevice;
  const pool = new BufferPool(device, budget, (destroy) => destroy());
  /** As an encoded list does: the device makes a buffer when it is first used. */
  const acquire = (bytes: number) => {
    const physical = pool.acquire(bytes, 'test');
    void physical.buffer;
    return physical;
  };
  const endBatches = (count: number): void => {
    for (let i = 0; i < count; i++) pool.endBatch();
  };
  return { pool, acquire, endBatches, destroyed };
}

describe('free buffers', () => {
  it('go to the smallest request that fills three quarters of them, and small ones to any', () => {
    const { pool, acquire } = poolOf(2 ** 30);
    const large = acquire(400 * KiB);
    pool.release(large);
    expect(acquire(299 * KiB)).not.toBe(large);
    expect(acquire(401 * KiB)).not.toBe(large);
    expect(acquire(300 * KiB)).toBe(large);
    const [small, smaller] = [acquire(64 * KiB), acquire(2 * KiB)];
    for (const physical of [small, smaller]) pool.release(physical);
    expect(acquire(1)).toBe(smaller);
    expect(acquire(1)).toBe(small);
    expect(acquire(1).bytes).toBe(256);
  });

  it('of one size go out in order of age, however they came back, so that a step finds the same ones', () => {
    const { pool, acquire } = poolOf(2 ** 30);
    const [a, b, c] = [acquire(KiB), acquire(KiB), acquire(KiB)];
    for (const physical of [c, a, b]) pool.release(physical);
    expect([acquire(KiB), acquire(KiB), acquire(KiB)]).toEqual([a, b, c]);
  });

  it('are destroyed after 64 lists that had no use for them, unless a recording refers to them', () => {
    const { pool, acquire, endBatches, destroyed } = poolOf(2 ** 30);
    const [idle, pinned, wanted] = [acquire(KiB), acquire(2 * KiB), acquire(3 * KiB)];
    for (const physical of [idle, pinned, wanted]) pool.release(physical);
    pinned.pins = 1;
    endBatches(64);
    expect(destroyed).toEqual([]);
    expect(acquire(3 * KiB)).toBe(wanted);
    pool.release(wanted);
    endBatches(16);
    expect(destroyed).toEqual([KiB]);
    expect(pool.report()).toMatchObject({ pooledBytes: 5 * KiB, totalBytes: 5 * KiB, buffers: 2 });
    expect(pool.trim(-1)).toBe(3 * KiB);
    expect(pool.report()).toMatchObject({ pooledBytes: 2 * KiB, totalBytes: 2 * KiB, buffers: 1 });
  });
});

describe('the budget', () => {
  it('may be used up to the last byte, by free buffers only until others are wanted', () => {
    const { pool, acquire, destroyed } = poolOf(1024 * KiB);
    pool.release(acquire(512 * KiB));
    const whole = acquire(1024 * KiB);
    expect(destroyed).toEqual([512 * KiB]);
    expect(() => acquire(1)).toThrow(/out-of-memory[\s\S]*1\.0 MiB in use \(kept: nothing\), 0\.0 MiB more wanted/);
    pool.release(whole);
    pool.account('staging', 1024 * KiB);
    expect(destroyed).toEqual([512 * KiB, 1024 * KiB]);
    expect(() => pool.account('staging', 1)).toThrow(/out-of-memory[\s\S]*kept: staging 1\.0 MiB/);
    pool.account('staging', -1024 * KiB);
    expect(pool.report()).toMatchObject({ kept: {}, totalBytes: 0, peakBytes: 1024 * KiB });
    pool.resetPeak();
    expect(pool.report().peakBytes).toBe(0);
  });
});

describe('kept storages', () => {
  it('are accounted for by label, until they are released', () => {
    const { pool } = poolOf(2 ** 30);
    const [a, b] = [new Storage(1000, 'parameter', true), new Storage(600, 'parameter', true)];
    for (const storage of [a, b]) pool.acquireKept(storage);
    pool.relabel(b, 'gradient');
    expect(pool.report()).toMatchObject({ kept: { parameter: 1024, gradient: 768 }, keptBytes: 1792, pooledBytes: 0 });
    pool.releaseKept(a);
    pool.releaseKept(a);
    expect(pool.report()).toMatchObject({ kept: { gradient: 768 }, keptBytes: 768, pooledBytes: 1024 });
  });

  it('are given no buffer that a recording works in', () => {
    const { pool, acquire } = poolOf(2 ** 30);
    const pinned = acquire(KiB);
    pinned.pins = 1;
    pool.release(pinned);
    const storage = new Storage(KiB, 'parameter', true);
    pool.acquireKept(storage);
    expect(storage.physical).not.toBe(pinned);
    expect(acquire(KiB)).toBe(pinned);
  });

  it('give their memory back once they are garbage', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const { pool } = poolOf(2 ** 30);
    pool.acquireKept(new Storage(KiB, 'forgotten', true));
    expect(pool.report().keptBytes).toBe(KiB);
    for (let tries = 0; pool.report().keptBytes > 0 && tries < 50; tries++) {
      collectGarbage();
      await wait(1);
    }
    expect(pool.report()).toMatchObject({ keptBytes: 0, pooledBytes: KiB });
  });
});
