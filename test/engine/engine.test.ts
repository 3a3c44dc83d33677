import { describe, expect, it, vi } from 'vitest';
import { add, createEngine, defineOp, elementwise, input, mul, output } from '../../engine/node.ts';
import type { Engine, Kernel, Tensor } from '../../engine/node.ts';
import { accumulate, sumOfGradients } from '../../engine/gradient-table.ts';
import { fill } from '../../kernels/fill/index.ts';
import { peakLiveBytes, planMemory } from '../../engine/gpu/memory-plan.ts';
import { useEngine } from '../support/engine.ts';
import { uniform } from '../support/close.ts';

const engine = useEngine();

/** y = x^2 as a user would write it, and an operator that has no derivative. */
const squareForward: Kernel<{ n: number }> = ({ n }, device) =>
  elementwise(
    {
      name: 'test.square',
      n,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      body: 'y[i] = x[i] * x[i];',
      flopsPerElement: 1,
    },
    device,
  );
const squareBackward: Kernel<{ n: number }> = ({ n }, device) =>
  elementwise(
    {
      name: 'test.square_backward',
      n,
      bindings: [input('x', 'vec4f'), input('dy', 'vec4f'), output('dx', 'vec4f')],
      body: 'dx[i] = 2 * x[i] * dy[i];',
      flopsPerElement: 2,
    },
    device,
  );
const squareOp = defineOp<object>({
  name: 'test.square',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    ctx.run(squareForward, { n: x!.size }, { x: x!, y });
    ctx.save(x!);
    return [y];
  },
  backward(ctx, [dy]) {
    ctx.run(squareBackward, { n: dy!.size }, { x: ctx.saved[0], dy: dy!, dx: ctx.gradient(0) });
  },
});
const square = (x: Tensor): Tensor => squareOp([x], {})[0];
const stepOp = defineOp<object>({
  name: 'test.no_derivative',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    ctx.run(squareForward, { n: x!.size }, { x: x!, y });
    return [y];
  },
  backward: null,
});

describe('memory plan', () => {
  it('never lets two live storages share a slot, and needs no more than their peak when sizes are equal', () => {
    const numbers = uniform(300, 1, 1);
    const lifetimes = Array.from({ length: 100 }, (_, i) => {
      const first = Math.floor((numbers[i] + 1) * 50);
      return { bytes: 256, first, last: first + Math.floor((numbers[100 + i] + 1) * 10) };
    });
    const plan = planMemory(lifetimes);
    for (let a = 0; a < 100; a++) {
      for (let b = 0; b < a; b++) {
        const overlap = lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last;
        if (overlap) expect(plan.slots[a]).not.toBe(plan.slots[b]);
      }
    }
    // Equal sizes reduce to interval colouring by order of size then start, which is optimal.
    expect(plan.slotBytes.length * 256).toBe(peakLiveBytes(lifetimes));
  });

  it('reuses a large slot for small storages that come later', () => {
    const plan = planMemory([
      { bytes: 100, first: 0, last: 1 },
      { bytes: 1000, first: 2, last: 3 },
      { bytes: 500, first: 4, last: 5 },
    ]);
    expect(plan.slotBytes).toEqual([1000]);
  });
});

describe('scopes', () => {
  it('expires what was not kept, and keeps what was', async () => {
    let lost!: Tensor;
    const kept = engine().scope(() => {
      lost = square(engine().tensor([1, 2, 3]));
      return square(lost).keep();
    });
    expect([...(await kept.read())]).toEqual([1, 16, 81]);
    expect(() => lost.region).toThrow(/tensor-expired/);
    engine().free(kept);
  });

  it('runs nothing of a scope that throws, and rejects its reads', async () => {
    const x = engine().tensor([1, 2]).keep();
    let read!: Promise<unknown>;
    expect(() =>
      engine().scope(() => {
        accumulate(x, x.engine.full([2], 5));
        read = x.read();
        throw new Error('stop');
      }),
    ).toThrow('stop');
    await expect(read).rejects.toThrow('stop');
    expect([...(await x.read())]).toEqual([1, 2]);
  });

  it('keeps host writes in order with the work around them', async () => {
    const x = engine().tensor([1, 1]).keep();
    const values = await Promise.all(
      engine().scope(() => {
        const before = square(x);
        const first = before.read();
        x.write([3, 4]);
        const second = square(x).read();
        return [first, second];
      }),
    );
    expect(values.map((v) => [...v])).toEqual([
      [1, 1],
      [9, 16],
    ]);
  });

  it('holds no more memory than the live tensors of a long chain need', async () => {
    const own = await createEngine({ debug: false });
    void own.scope(() => {
      let x = own.full([1 << 18], 1.0001);
      for (let i = 0; i < 40; i++) x = square(x);
      return x.read();
    });
    await own.idle();
    // Two tensors of 1 MiB are alive at any time; 40 would be without reuse.
    expect(own.memory().peakBytes).toBeLessThanOrEqual(2 * 2 ** 20 + 4096);
    own.close();
  });

  it('leaves a fifth of the free memory to others, where it is the processor that computes', async () => {
    const free = vi.spyOn(process, 'availableMemory').mockReturnValue(1_000_001);
    const own = await createEngine();
    free.mockRestore();
    expect(own.adapter.software).toBe(true);
    expect(own.memoryBudget).toBe(800_000);
    own.close();
  });

  it('says what to do when the memory budget is used up, and goes on afterwards', async () => {
    const own = await createEngine({ memoryBudget: 2 ** 20 });
    const work = (): unknown => own.scope(() => square(own.full([1 << 20], 2)).read());
    expect(work).toThrow(/out-of-memory[\s\S]*full[\s\S]*smaller batch/);
    await own.idle();
    expect(await own.scope(() => square(own.full([4], 3)).read())).toEqual(new Float32Array([9, 9, 9, 9]));
    own.close();
  });
});

describe('debug mode', () => {
  it('shows NaN to whoever reads memory that nothing has written', async () => {
    const own = await createEngine({ debug: true });
    const read = own.scope(() => square(own.empty([3])).read());
    expect([...(await read)]).toEqual([NaN, NaN, NaN]);
    await expect(own.idle()).rejects.toThrow(
      /nothing has written[\s\S]*at: test.square[\s\S]*found: 3 elements, the first of them number 0/,
    );
    own.close();
  });

  it('names the operator whose gradient has elements that its kernel left out', async () => {
    const forgetful = defineOp<object>({
      name: 'forgetful',
      forward: (_, [x]) => [x!],
      backward: (ctx, [dy]) => ctx.run(fill, { n: dy!.size - 1, value: 1 }, { y: ctx.gradient(0) }),
    });
    const own = await createEngine({ debug: true });
    const x = own.tensor(new Float32Array(9)).keep().requiresGrad_();
    own.scope(() => forgetful([x], {})[0].backward(own.full([9], 1)));
    await expect(own.idle()).rejects.toThrow(
      /at: forgetful.backward[\s\S]*found: 1 elements, the first of them number 8/,
    );
    own.close();
  });

  it('gives the same results, replays included', async () => {
    const own = await createEngine({ debug: true });
    const total = own.tensor([1]).keep();
    const recording = own.record(() => accumulate(total, square(own.full([1], 3))));
    own.replay(recording);
    expect(await total.item()).toBe(19);
    own.close();
  });
});

describe('replay', () => {
  it('does on new inputs what the recorded step did, to the bit', async () => {
    const x = engine().tensor([1, 2, 3]).keep();
    const total = engine().tensor([0, 0, 0]).keep();
    const recording = engine().record(() => accumulate(total, square(x)));
    x.write([10, 20, 30]);
    engine().replay(recording);
    expect([...(await total.read())]).toEqual([101, 404, 909]);
    recording.release();
  });

  it('leaves tensors alone that were kept after the recording, in memory that it works in', async () => {
    const x = engine().full([4096], 1).keep();
    const y = engine().empty([4096]).keep();
    const recording = engine().record(() => engine().copy(mul(add(x, 1), 3), y));
    const values = Float32Array.from({ length: 4096 }, (_, i) => i);
    const kept = Array.from({ length: 4 }, () => engine().tensor(values, [4096]).keep());
    await Promise.all(kept.map((tensor) => tensor.read()));
    engine().replay(recording);
    for (const tensor of kept) expect(await tensor.read()).toEqual(values);
    expect((await y.read())[0]).toBe(6);
    recording.release();
  });

  it('refuses uploads and reads inside the recorded step', () => {
    expect(() => engine().record(() => void engine().tensor([1]))).toThrow(/would be frozen/);
    const kept = engine().tensor([1]).keep();
    expect(() => engine().record(() => void kept.read())).toThrow(/read back inside a recorded step/);
  });

  it('refuses to run after a tensor that it works on was freed', async () => {
    const own = await createEngine();
    const x = own.tensor([1, 2]).keep();
    const recording = own.record(() => accumulate(x, own.full([2], 1)));
    await own.idle();
    own.free(x);
    own.flush();
    expect(() => own.replay(recording)).toThrow(/tensor-expired/);
    own.close();
  });
});

describe('autograd', () => {
  const grad = async (work: (e: Engine, x: Tensor) => Tensor, at: number[]): Promise<number[]> => {
    const x = engine().tensor(at).keep().requiresGrad_();
    const read = engine().scope(() => {
      work(engine(), x).backward(engine().full([at.length], 1));
      return x.grad!.read();
    });
    return [...(await read)];
  };

  it('applies the chain rule', async () => {
    // d/dx x^4 = 4 x^3
    expect(await grad((_, x) => square(square(x)), [1, 2, -3])).toEqual([4, 32, -108]);
  });

  it('adds the gradients of all uses', async () => {
    const add = defineOp<object>({
      name: 'test.add',
      forward: (_, [a, b]) => [sumOfGradients(a!, b!)],
      backward(ctx, [dy]) {
        ctx.pass(0, dy!);
        ctx.pass(1, dy!);
      },
    });
    // x + x + x^2: 2 + 2x
    expect(await grad((_, x) => add([add([x, x], {})[0], square(x)], {})[0], [1, 2, 5])).toEqual([4, 6, 12]);
    // h = x^2, y = h^2 + h^2 = 2 x^4: two gradients of h, both written by kernels, before they are added
    const twice = (h: Tensor) => add([square(h), square(h)], {})[0];
    expect(await grad((_, x) => twice(square(x)), [1, 2, 3])).toEqual([8, 64, 216]);
  });

  it('accumulates over several backward passes until grad is cleared', async () => {
    const x = engine().tensor([3]).keep().requiresGrad_();
    const read = engine().scope(() => {
      square(x).backward();
      square(x).backward();
      return x.grad!.read();
    });
    expect([...(await read)]).toEqual([12]);
    expect(x.grad).toBeNull();
  });

  it('writes gradients into their home, and adds there on the next pass', async () => {
    const x = engine().tensor([3]).keep().requiresGrad_();
    x.gradHome = engine().tensor([99]).keep();
    engine().scope(() => square(x).backward());
    expect([...(await x.gradHome.read())]).toEqual([6]);
    engine().scope(() => square(x).backward());
    expect([...(await x.gradHome.read())]).toEqual([12]);
  });

  it('refuses an operator without a backward pass where a gradient is needed, and allows it elsewhere', () => {
    const x = engine().tensor([3]).requiresGrad_();
    expect(() => stepOp([x], {})).toThrow(/no-gradient[\s\S]*test\.no_derivative/);
    expect(stepOp([x.detach()], {})[0].requiresGrad).toBe(false);
    expect(engine().noGrad(() => stepOp([x], {}))[0].requiresGrad).toBe(false);
  });

  it('notices when a saved tensor was changed in place before backward', () => {
    const x = engine().tensor([3]).requiresGrad_();
    const y = square(x);
    x.write([4]);
    expect(() => y.backward()).toThrow(/tape-modified/);
  });

  it('refuses a second pass through what the first let go of', () => {
    const x = engine().tensor([3]).requiresGrad_();
    const y = square(x);
    y.backward();
    expect(() => y.backward()).toThrow(/tape-modified[\s\S]*add up the losses/);
  });

  it('records nothing under noGrad or after detach', () => {
    const x = engine().tensor([3]).requiresGrad_();
    expect(square(x.detach()).node).toBeNull();
    expect(() =>
      engine()
        .noGrad(() => square(x))
        .backward(),
    ).toThrow(/no-gradient/);
  });
});

describe('a slot of a flat tensor', () => {
  it('is the elements from the first that is named, of any type', async () => {
    for (const dtype of ['f32', 'i32'] as const) {
      const flat = engine().tensor([0, 1, 2, 3, 4, 5, 6, 7], [8], dtype).keep();
      const part = flat.slot(2, 5).slot(3, 2);
      engine().copy(engine().tensor([50, 60], [2], dtype), part);
      expect([...(await flat.read())]).toEqual([0, 1, 2, 3, 4, 50, 60, 7]);
    }
  });
});

describe('packing', () => {
  it('moves tensors into one buffer without changing them', async () => {
    const a = engine().tensor([1, 2, 3]).keep();
    const b = engine().tensor([4, 5]).keep();
    const flat = engine().pack([a, b], 'parameter');
    expect(b.offset).toBe(256);
    expect([...(await a.read()), ...(await b.read())]).toEqual([1, 2, 3, 4, 5]);
    const content = await flat.read();
    expect([...content.slice(0, 4), ...content.slice(64, 67)]).toEqual([1, 2, 3, 0, 4, 5, 0]);
  });
});
