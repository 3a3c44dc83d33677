/** The memory plan of real recorded work against the least that any plan could do with. */
import { describe, expect, it } from 'vitest';
import { peakLiveBytes, planMemory } from '../../engine/gpu/memory-plan.ts';
import type { Lifetime } from '../../engine/gpu/memory-plan.ts';
import { add, crossEntropy, mul } from '../../engine/index.ts';
import type { Recording } from '../../engine/index.ts';
import { VisionTransformer } from '../../deit/models/deit.ts';
import { AdamW, decayGroups } from '../../nn/index.ts';
import { useEngine } from '../support/engine.ts';

// Debug mode never reuses memory, and here it is the reuse that is looked at.
const engine = useEngine({ debug: false });

const MiB = 2 ** 20;

/** A DeiT-Ti of both heads: 32-pixel images in patches of 4, or 224 in patches of 16. */
const tiny = (imageSize: number, patchSize: number, depth: number): VisionTransformer =>
  new VisionTransformer(engine(), {
    imageSize,
    patchSize,
    width: 192,
    depth,
    heads: 3,
    classes: 10,
    distilled: true,
  });

function recordTrainingStep(depth: number): Recording {
  const model = tiny(32, 4, depth).train();
  const images = engine().zeros([16, 3, 32, 32]).keep('input');
  const labels = engine().tensor(new Int32Array(16), [16], 'i32').keep('input');
  const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05));
  optimizer.prepareStep(1e-3);
  return engine().record(() => {
    optimizer.zeroGrad();
    const { cls, dist } = model.heads(images);
    mul(add(crossEntropy(cls, labels), crossEntropy(dist!, labels)), 0.5).backward();
    optimizer.step();
  });
}

describe('peakLiveBytes', () => {
  it('is the largest sum of what is alive at one command, worked by hand', () => {
    const lifetimes: Lifetime[] = [
      { bytes: 100, first: 0, last: 2 },
      { bytes: 30, first: 1, last: 1 },
      { bytes: 50, first: 2, last: 4 },
      { bytes: 120, first: 3, last: 3 },
    ];
    // Command by command: 100, 130, 150, 170, 50.
    expect(peakLiveBytes(lifetimes)).toBe(170);
  });
});

describe('planMemory', () => {
  it('gives no two storages that are alive together the same slot, and none less than it needs', () => {
    // A linear congruential sequence of lifetimes; the check below is independent of how they were placed.
    let state = 1;
    const next = (below: number): number => (state = (state * 48271) % 2147483647) % below;
    const lifetimes = Array.from({ length: 200 }, () => {
      const first = next(300);
      return { bytes: 16 * (1 + next(4000)), first, last: first + next(60) };
    });
    const { slots, slotBytes } = planMemory(lifetimes);
    lifetimes.forEach((a, i) => {
      expect(slotBytes[slots[i]]).toBeGreaterThanOrEqual(a.bytes);
      lifetimes.slice(i + 1).forEach((b, j) => {
        const overlap = a.first <= b.last && b.first <= a.last;
        if (overlap) expect(slots[i]).not.toBe(slots[i + 1 + j]);
      });
    });
  });
});

describe('a recorded DeiT-Ti', () => {
  it('trains in at most 1.2 times the bytes of the tensors alive at once', async () => {
    // A third of the depth: the share of what lives through the whole step, and with it the plan's task, is the same.
    const recording = recordTrainingStep(4);
    await engine().idle();
    const { plannedBytes, leastBytes } = recording.transientMemory;
    recording.release();
    // 16 images x 66 tokens x 192 x 4 B = 811,008 B is one activation of this width. Backward needs at least the hidden
    // layer of the MLP (4 of them) and qkv (3) of each of the 4 blocks.
    expect(leastBytes).toBeGreaterThan(4 * 7 * 811_008);
    expect(plannedBytes / leastBytes).toBeGreaterThanOrEqual(1);
    expect(plannedBytes / leastBytes).toBeLessThanOrEqual(1.2);
  });

  it('forwards 8 images of 224 pixels in at most 1.2 times that, and little beside its weights', async () => {
    const model = tiny(224, 16, 12).eval();
    const images = engine().zeros([8, 3, 224, 224]).keep('input');
    await engine().idle();
    engine().trimMemory();
    engine().resetPeakMemory();
    const before = engine().memory().totalBytes;
    const recording = engine().record(() => void engine().noGrad(() => model.heads(images)));
    await engine().idle();
    const { plannedBytes, leastBytes } = recording.transientMemory;
    recording.release();
    expect(plannedBytes / leastBytes).toBeLessThanOrEqual(1.2);
    // 8 images x 198 tokens x 192 x 4 B: 1.2 MB an activation; fc1's result is 4 of them beside the residual stream.
    expect(leastBytes).toBeGreaterThan(5 * 8 * 198 * 192 * 4);
    expect(engine().memory().peakBytes - before).toBeLessThan(20 * MiB);
  });
});
