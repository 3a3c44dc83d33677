/** After any caught mistake the engine computes on: each kind of mistake by itself. */
import { describe, expect, it } from 'vitest';
import { add, createEngine, defineOp, f32, input, launch, mul, output, sum } from '../../engine/node.ts';
import type { Engine, ErrorCode, Kernel, Tensor } from '../../engine/node.ts';
import { accumulate } from '../../engine/gradient-table.ts';
import { AdamW, BatchNorm2d, Linear } from '../../nn/index.ts';
import { brokenKernel } from '../support/broken-kernel.ts';
import { useEngine } from '../support/engine.ts';

const MiB = 2 ** 20;
const engine = useEngine({ memoryBudget: 4 * MiB });
const kept = (...values: number[]): Tensor => engine().tensor(values).keep();
const values = async (x: Tensor): Promise<number[]> => [...(await x.read())];
const code = (name: ErrorCode): { code: ErrorCode } => ({ code: name });

/** A kernel that compiles, with bindings and a grid of the test's choice. */
const plain = (bindings: readonly ('x' | 'y' | 'z')[], grid: number): Kernel<object> => {
  const kernel: Kernel<object> = () => [
    launch({
      name: 'plain',
      bindings: [...bindings.map((name) => input(name)), output('out')],
      uniforms: { value: f32(7) },
      wgsl: '@compute @workgroup_size(1) fn main() { out[0] = params.value; }',
      grid: [grid, 1, 1],
      cost: { flops: 0, bytes: 0 },
    }),
  ];
  return kernel;
};

const same = defineOp<object>({ name: 'same', forward: (_, [a]) => [a!], backward: (ctx, [dy]) => ctx.pass(0, dy!) });

/** What `work` throws, or the promise that it returns is rejected with. */
async function failure(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** Unhandled rejections end up in vitest as errors of the run; they come with the next turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 5));

describe('a scope that throws', () => {
  it('ends no process over reads under way in it, nor over what was made of them', async () => {
    const x = kept(1);
    const mistake = (): Tensor => add(kept(1, 2), kept(1, 2, 3));
    for (const reads of [
      () => x.read(),
      () => x.item(),
      () => x.array(),
      () => Promise.all([x.read(), add(x, 1).read()]),
      () => x.read().then(([value]) => value),
      async () => (await x.read())[0],
    ]) {
      const scope = (): unknown =>
        engine().scope(() => {
          void reads();
          return mistake();
        });
      expect(scope).toThrow(/shape-mismatch/);
      await turn();
    }
    expect(await x.item()).toBe(1);
  });

  it('rejects such a read where somebody asks for it after all', async () => {
    const x = kept(1);
    let read!: Promise<unknown>;
    expect(() =>
      engine().scope(() => {
        read = x.read();
        throw new Error('stop');
      }),
    ).toThrow('stop');
    await turn();
    await expect(read).rejects.toThrow('stop');
    await expect(Promise.all([read])).rejects.toThrow('stop');
  });

  it('leaves tensors, gradients, versions, counters and frees as they were', async () => {
    const own = engine();
    const x = kept(3).requiresGrad_();
    const layer = new BatchNorm2d(own, 1);
    const optimizer = new AdamW([{ parameters: [['x', x]], weightDecay: 0 }]);
    optimizer.prepareStep(0);
    // 2x, computed outside, is differentiated after the scope: it must not be thought changed.
    const y = mul(x, x);
    let lost!: Tensor;
    expect(() =>
      own.scope(() => {
        optimizer.prepareStep(1);
        lost = add(x, 1).keep();
        mul(x, 5).backward();
        x.write([9]);
        layer.forward(own.zeros([2, 1]));
        own.free(x);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(x.grad).toBeNull();
    expect(optimizer.steps).toBe(1);
    expect(layer.numBatchesTracked.value).toBe(0);
    expect(() => lost.region).toThrow(/tensor-expired[\s\S]*did not run/);
    y.backward();
    expect(await values(x.grad!)).toEqual([6]);
    expect(await values(x)).toEqual([3]);
    optimizer.free();
  });

  it('inside another one takes back what it did, and the outer one goes on', async () => {
    const own = engine();
    const [x, y] = [kept(1), kept(10)];
    const read = own.scope(() => {
      accumulate(x, y);
      try {
        own.scope(() => {
          accumulate(x, y);
          own.free(y);
          throw new Error('stop');
        });
      } catch {
        // Caught.
      }
      accumulate(x, y);
      return x.read();
    });
    expect([...(await read)]).toEqual([21]);
  });

  it('takes parameters back out of the buffer of an optimizer that was made in it', async () => {
    const own = engine();
    const layer = new Linear(own, 1, 1);
    layer.weight.write([4]);
    expect(() =>
      own.scope(() => {
        new AdamW([{ parameters: layer.namedParameters(), weightDecay: 0 }]);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(await values(layer.weight)).toEqual([4]);
    expect(layer.weight.gradHome).toBeNull();
  });
});

describe('memory that does not suffice', () => {
  const hungry = 2 * MiB;

  it('is told once, to the call that wanted it, and what fits works', async () => {
    const own = engine();
    const works: (() => unknown)[] = [
      () => own.zeros([hungry]),
      () => own.scope(() => add(own.zeros([hungry]), 1).read()),
      () => own.scope(() => void add(own.zeros([hungry]), 1)),
      () => own.scope(() => Promise.all([add(own.zeros([hungry]), 1).read(), own.zeros([1]).read()])),
      () => own.record(() => void add(own.zeros([hungry]), 1)),
      () => own.scope(() => own.zeros([hungry]).keep()),
    ];
    for (const work of works) {
      const before = own.memory().keptBytes;
      expect(await failure(work)).toMatchObject(code('out-of-memory'));
      expect(await own.scope(() => add(own.full([4], 3), 1).read())).toEqual(new Float32Array([4, 4, 4, 4]));
      await own.idle();
      expect(own.memory().keptBytes).toBe(before);
    }
  });

  it('does not take with it what was made before', async () => {
    const own = engine();
    const x = own.tensor([5]);
    expect(() => own.zeros([hungry])).toThrow(/out-of-memory/);
    expect(await values(x)).toEqual([5]);
  });

  it('finds room in what was freed just before', async () => {
    const own = engine();
    for (let i = 0; i < 4; i++) {
      const large = own.full([MiB / 2], i);
      expect((await own.scope(() => sum(large).read()))[0]).toBe((i * MiB) / 2);
      own.free(large);
    }
  });
});

describe('a recording of a tensor that was freed', () => {
  it('is refused with the same error whatever the GPU is doing, and harms nothing', async () => {
    for (const wait of [false, true]) {
      const [a, b] = [kept(1), kept(0)];
      // A kernel of its own, so that it is still being compiled.
      const recording = engine().record(() => engine().copy(add(a, wait ? 1.5 : 1.25), b));
      if (wait) await engine().idle();
      engine().free(a);
      for (let i = 0; i < 2; i++)
        expect(await failure(() => engine().replay(recording))).toMatchObject(code('tensor-expired'));
      expect(await values(b)).toEqual([wait ? 2.5 : 2.25]);
      await engine().idle();
      recording.release();
      expect(await failure(() => engine().replay(recording))).toMatchObject(code('bad-argument'));
    }
  });
});

describe('a kernel that does not compile', () => {
  it('is told to whoever reads what comes of it, and nothing else is touched', async () => {
    const own = engine();
    const other = kept(1);
    const x = own.empty([4]).keep();
    own.run('broken', brokenKernel, { seed: 0 }, { x });
    const y = add(x, 1);
    const z = add(other, 1);
    const told = await Promise.allSettled([y.read(), z.read(), x.read()]);
    expect(told.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
    expect(await failure(() => y.read())).toMatchObject(code('gpu-validation'));
    // Told: nothing is left for idle.
    await own.idle();
    x.write([1, 2, 3, 4]);
    expect(await values(x)).toEqual([1, 2, 3, 4]);
  });

  it('stops the whole scope that has it, and its tensors are as before', async () => {
    const own = engine();
    const [x, y] = [kept(1), kept(2)];
    const read = own.scope(() => {
      accumulate(x, y);
      own.run('broken', brokenKernel, { seed: 1 }, { x: y });
      return y.read();
    });
    expect(await failure(() => read)).toMatchObject(code('gpu-validation'));
    expect([...(await values(x)), ...(await values(y))]).toEqual([1, 2]);
  });

  it('is told by idle where nobody read, once', async () => {
    const own = engine();
    own.scope(() => own.run('broken', brokenKernel, { seed: 2 }, { x: own.empty([1]) }));
    expect(await failure(() => own.idle())).toMatchObject(code('gpu-validation'));
    await own.idle();
  });

  it('makes every replay of a recording fail', async () => {
    const own = engine();
    const x = kept(1);
    const recording = own.record(() => own.run('broken', brokenKernel, { seed: 3 }, { x }));
    expect(await failure(() => x.read())).toMatchObject(code('gpu-validation'));
    expect(await values(x)).toEqual([1]);
    own.replay(recording);
    expect(await failure(() => x.read())).toMatchObject(code('gpu-validation'));
    expect(await values(x)).toEqual([1]);
  });
});

describe('a mistake is told by the call that makes it', () => {
  const empty: () => unknown = async () => Promise.resolve();
  const [x, y, z] = ['x', 'y', 'z'] as const;
  const cases: Readonly<Record<string, [ErrorCode, (own: Engine) => unknown]>> = {
    'an operand of another engine': [
      'bad-argument',
      async (own) => {
        const other = await createEngine();
        try {
          add(own.tensor([1]), other.tensor([1]));
        } finally {
          other.close();
        }
      },
    ],
    'reading, copying, freeing and replaying what belongs to another engine': [
      'bad-argument',
      async (own) => {
        const other = await createEngine();
        const foreign = other.tensor([1]).keep();
        const recording = other.record(() => accumulate(foreign, foreign.engine.zeros([1])));
        try {
          for (const work of [() => own.copy(foreign, own.tensor([1])), () => own.free(foreign)]) {
            expect(await failure(work)).toMatchObject(code('bad-argument'));
          }
          own.replay(recording);
        } finally {
          other.close();
        }
      },
    ],
    'a kernel whose result is its operand': [
      'bad-argument',
      (own) => {
        const tensor = own.tensor([1]);
        own.run('plain', plain([x], 1), {}, { x: tensor, out: tensor });
      },
    ],
    'a kernel with a grid beyond the limit': [
      'limit-exceeded',
      (own) => own.run('plain', plain([], 2 ** 20), {}, { out: own.tensor([1]) }),
    ],
    'a kernel with a grid of no number': [
      'limit-exceeded',
      (own) => own.run('plain', plain([], NaN), {}, { out: own.tensor([1]) }),
    ],
    'a kernel without one of its tensors': [
      'bad-argument',
      (own) => own.run('plain', plain([x, y, z], 1), {}, { x: own.tensor([1]), out: own.tensor([1]) }),
    ],
    'a kernel that returns no launches': [
      'bad-argument',
      (own) => own.run('none', (() => undefined) as unknown as Kernel<object>, {}, { out: own.tensor([1]) }),
    ],
    'an operand that is no tensor': ['bad-argument', (own) => same([own.tensor([1]), 'two' as unknown as Tensor], {})],
    'no operand at all': ['bad-argument', () => same([], {})],
    'an asynchronous scope': ['bad-argument', (own) => own.scope(empty)],
    'an asynchronous recording': ['bad-argument', (own) => own.record(empty)],
    'an asynchronous noGrad': ['bad-argument', (own) => own.noGrad(empty)],
    'a replay inside a scope': [
      'bad-argument',
      (own) => {
        const recording = own.record(() => undefined);
        own.scope(() => own.replay(recording));
      },
    ],
    'a recording inside a scope': ['bad-argument', (own) => own.scope(() => own.record(() => undefined))],
    'keeping what its scope has let go of': ['tensor-expired', (own) => own.scope(() => own.zeros([1])).keep()],
    'using what was freed': [
      'tensor-expired',
      (own) => {
        const tensor = own.tensor([1]);
        own.free(tensor);
        add(tensor, 1);
      },
    ],
  };
  for (const [name, [expected, work]] of Object.entries(cases)) {
    it(name, async () => {
      expect(await failure(() => work(engine()))).toMatchObject(code(expected));
      expect(await values(add(kept(1), 1))).toEqual([2]);
      await engine().idle();
    });
  }

  it("an error of a forward or backward pass of one's own is passed on, and backward can be called again", async () => {
    let isMended = false;
    const fragile = defineOp<{ inForward: boolean }>({
      name: 'fragile',
      forward(ctx, [a]) {
        if (ctx.attributes.inForward) throw new Error('in forward');
        return [a!];
      },
      backward(ctx, [dy]) {
        if (!isMended) throw new Error('in backward');
        ctx.pass(0, dy!);
      },
    });
    const w = kept(3).requiresGrad_();
    expect(() => fragile([w], { inForward: true })).toThrow('in forward');
    const loss = mul(fragile([mul(w, w)], { inForward: false })[0], 2);
    expect(() => loss.backward()).toThrow('in backward');
    expect(w.grad).toBeNull();
    isMended = true;
    loss.backward();
    // d/dw 2 w^2 = 4 w.
    expect(await values(w.grad!)).toEqual([12]);
  });
});

it('an engine that is closed says so everywhere, and rejects what was under way', async () => {
  const own = await createEngine();
  const x = own.tensor([1]).keep();
  const recording = own.record(() => accumulate(x, own.zeros([1])));
  const [pending, unheard] = [x.read(), add(x, 0.125).read()];
  void unheard;
  own.close();
  await expect(pending).rejects.toMatchObject(code('engine-closed'));
  for (const work of [
    () => own.scope(() => 1),
    () => own.record(() => undefined),
    () => own.replay(recording),
    () => own.idle(),
    () => own.tensor([1]),
    () => own.copy(x, x),
    () => add(x, 1),
    () => x.read(),
    () => x.write([1]),
    () => own.compile(() => undefined),
  ]) {
    expect(await failure(work)).toMatchObject(code('engine-closed'));
  }
  own.free(x);
  own.close();
  await turn();
});

it('an engine that is closed inside a scope ends that', async () => {
  const own = await createEngine();
  const scope = (): unknown =>
    own.scope(() => {
      const read = own.zeros([1]).read();
      own.close();
      return read;
    });
  expect(scope).toThrow(/engine-closed/);
  await turn();
});
