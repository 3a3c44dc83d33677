import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, elementwise, input, output } from '../../engine/node.ts';
import type { Engine, Kernel, Tensor } from '../../engine/node.ts';

/*
 * An operating system takes the device away from a program whose submission keeps the GPU for too long (Windows: two
 * seconds), so that a long step is submitted in parts of 1e11 operations at most. Kernels here claim to be long.
 */

const plusOne: Kernel<{ operations: number }> = ({ operations }, device) =>
  elementwise(
    {
      name: 'plus_one',
      n: 4,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      body: 'y[i] = x[i] + 1;',
      flopsPerElement: operations / 4,
    },
    device,
  );

describe('submissions', () => {
  let engine: Engine;
  beforeAll(async () => {
    // Debug mode submits every dispatch by itself.
    engine = await createEngine({ debug: false });
  });
  afterAll(() => engine.close());

  /** Adds one to x as often as there are kernels, each of so many operations. Returns the submissions that took. */
  async function chain(operations: readonly number[]): Promise<{ value: number; submits: number; again: number }> {
    const x = engine.zeros([4]).keep();
    await engine.idle();
    const count = (): number => engine.statistics.submits;
    const begin = count();
    const recording = engine.record(() => {
      let last: Tensor = x;
      for (const own of operations) {
        const y = engine.empty([4]);
        engine.run('plusOne', plusOne, { operations: own }, { x: last, y });
        last = y;
      }
      engine.copy(last, x);
    });
    await engine.idle();
    const submits = count() - begin;
    engine.replay(recording);
    await engine.idle();
    const again = count() - begin - submits;
    const [value] = await x.read();
    recording.release();
    engine.free(x);
    return { value, submits, again };
  }

  it('hold as much work as fits, and no more, also when replayed', async () => {
    expect(await chain([4e10, 4e10, 4e10, 4e10, 4e10])).toEqual({ value: 10, submits: 3, again: 3 });
  });

  it('are one for a short step, and one each for kernels that are too long by themselves', async () => {
    expect(await chain([1e10, 1e10, 1e10])).toEqual({ value: 6, submits: 1, again: 1 });
    expect(await chain([2e11, 2e11])).toEqual({ value: 4, submits: 2, again: 2 });
  });
});
