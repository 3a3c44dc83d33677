/** What passes between host and GPU in the middle of recorded steps, and when a gradient is complete. */
import { describe, expect, it } from 'vitest';
import { add, checkpoint, createEngine, mul, sum } from '../../engine/node.ts';
import type { Receiver, Tensor } from '../../engine/node.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine();

/** Keeps what comes, as numbers. */
function collector(): Receiver & { contents: number[][]; errors: unknown[] } {
  const contents: number[][] = [];
  const errors: unknown[] = [];
  return {
    contents,
    errors,
    take: (content) => void contents.push([...new Float32Array(content)]),
    fail: (error) => void errors.push(error),
  };
}

describe('staging', () => {
  it('sends at every replay what a tensor holds at that point of the list', async () => {
    const [x, y] = [engine().tensor([1, 2, 3]).keep(), engine().zeros([3]).keep()];
    const receiver = collector();
    const { staging } = engine();
    const download = staging.openDownload(24, receiver);
    const recording = engine().record(() => {
      engine().copy(mul(x, 2), y);
      staging.download(download, [y, x]);
      // What comes later in the list must not be seen.
      engine().copy(mul(x, 10), y);
    });
    await engine().idle();
    x.write([4, 5, 6]);
    engine().replay(recording);
    await engine().idle();
    await expect
      .poll(() => receiver.contents)
      .toEqual([
        [2, 4, 6, 1, 2, 3],
        [8, 10, 12, 4, 5, 6],
      ]);
    expect(receiver.errors).toEqual([]);
    expect([...(await y.read())]).toEqual([40, 50, 60]);
    recording.release();
    staging.free(download);
  });

  it('gives the GPU at every replay what was last written', async () => {
    const [x, y] = [engine().zeros([2]).keep(), engine().zeros([2]).keep()];
    const { staging } = engine();
    const upload = staging.openUpload(8);
    const write = (...values: number[]): Promise<void> =>
      upload.write((content) => new Float32Array(content).set(values));
    await write(1, 2);
    const recording = engine().record(() => {
      staging.upload(upload, [x]);
      engine().copy(add(x, 100), y);
    });
    expect([...(await y.read())]).toEqual([101, 102]);
    for (const first of [3, 5]) {
      await write(first, first + 1);
      engine().replay(recording);
      expect([...(await y.read())]).toEqual([100 + first, 101 + first]);
    }
    recording.release();
    staging.free(upload);
  });

  it('is accounted for, and a replay allocates nothing', async () => {
    const x = engine().zeros([256]).keep();
    const { staging } = engine();
    await engine().idle();
    engine().trimMemory();
    const before = engine().memory().totalBytes;
    const [download, upload] = [staging.openDownload(1024, collector()), staging.openUpload(1024)];
    expect(engine().memory().kept.staging).toBe(2048);
    const recording = engine().record(() => {
      staging.upload(upload, [x]);
      staging.download(download, [x]);
    });
    await engine().idle();
    const { totalBytes, buffers } = engine().memory();
    for (let step = 0; step < 5; step++) {
      await upload.write((content) => new Float32Array(content).fill(step));
      engine().replay(recording);
      await engine().idle();
    }
    expect(engine().memory()).toMatchObject({ totalBytes, buffers });
    recording.release();
    for (const buffer of [download, upload]) staging.free(buffer);
    expect(engine().memory().totalBytes).toBe(before);
  });

  it('refuses tensors that do not fill it, and memory beyond the budget', async () => {
    const { staging } = engine();
    const download = staging.openDownload(1024, collector());
    const three = engine().zeros([3]).keep();
    expect(() => staging.download(download, [three])).toThrow(/\[shape-mismatch\]/);
    staging.free(download);
    const small = await createEngine({ memoryBudget: 2 ** 20 });
    expect(() => small.staging.openUpload(2 ** 21)).toThrow(/\[out-of-memory\]/);
    small.close();
  });

  it('tells the receiver when the device is gone', async () => {
    const own = await createEngine();
    const x = own.zeros([4]).keep();
    const receiver = collector();
    const download = own.staging.openDownload(16, receiver);
    const recording = own.record(() => own.staging.download(download, [x]));
    await own.idle();
    await expect.poll(() => receiver.contents.length).toBe(1);
    own.replay(recording);
    own.loseDevice();
    await expect.poll(() => receiver.errors.length + receiver.contents.length).toBe(2);
    own.close();
  });
});

describe('a gradient is delivered when its last use has been differentiated', () => {
  it('complete then, in the order of the backward pass, once each', async () => {
    const [a, b, c] = [2, 3, 5].map((value) => engine().tensor([value]).keep().requiresGrad_());
    const taken: [Tensor, Promise<ArrayLike<number>>][] = [];
    engine().scope(() => {
      // a is used three times, b in a recomputed segment alone, c in the last operator alone:
      // loss = (a b a) c + a, of which the derivatives are 2 a b c + 1, a a c and a a b.
      const product = checkpoint((x) => mul(x, b), mul(a, 1), [b]);
      const loss = add(mul(mul(product, a), c), a);
      sum(loss).backward(undefined, (leaf) => {
        taken.push([leaf, leaf.grad!.read()]);
      });
    });
    expect(taken.map(([leaf]) => leaf)).toEqual([c, b, a]);
    const values = await Promise.all(taken.map(async ([, content]) => (await content)[0]));
    expect(values).toEqual([2 * 2 * 3, 2 * 2 * 5, 2 * 2 * 3 * 5 + 1]);
  });

  it('of a second pass with what the first one left', async () => {
    const a = engine().tensor([4]).keep().requiresGrad_();
    const seen = engine().scope(() => {
      mul(a, a).backward();
      let content: Promise<ArrayLike<number>> | null = null;
      mul(a, 3).backward(undefined, (leaf) => void (content = leaf.grad!.read()));
      return content!;
    });
    // 2 a + 3.
    expect((await seen)[0]).toBe(11);
  });
});
