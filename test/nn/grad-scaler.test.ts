import { describe, expect, it } from 'vitest';
import { AdamW, GradScaler } from '../../nn/index.ts';
import { collect, mul, sum } from '../../engine/node.ts';
import { expectClose } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { uniform } from '../support/generator.ts';
import { goldenJson, goldenTensors } from '../support/golden.ts';

const engine = useEngine();

/** torch.amp.GradScaler over a scripted sequence of overflows: see test/golden/scaler.py. */
interface ScalerCase {
  key: string;
  initScale: number;
  growthFactor: number;
  backoffFactor: number;
  growthInterval: number;
  lr: number;
  weightDecay: number;
  gradScale: number;
  shapes: number[][];
  script: (0 | 1 | 2)[];
  scale: number[];
  tracker: number[];
}

const golden = goldenTensors('scaler.safetensors');
const count = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

describe('GradScaler against torch.amp.GradScaler', () => {
  it.each(goldenJson<ScalerCase[]>('scaler.json'))('$key', async (c) => {
    const gpu = engine();
    const parameters = c.shapes.map((shape, i): [string, ReturnType<typeof gpu.tensor>] => [
      `p${i}`,
      gpu.tensor(uniform(`scaler.${c.key}.param${i}`, count(shape)), shape).requiresGrad_(),
    ]);
    const { initScale, growthFactor, backoffFactor, growthInterval } = c;
    const scaler = new GradScaler(gpu, { initScale, growthFactor, backoffFactor, growthInterval });
    const optimizer = new AdamW([{ parameters, weightDecay: c.weightDecay }], { scaler });
    const states: number[][] = [];
    for (const [step, kind] of c.script.entries()) {
      const [scale] = await scaler.factor.read();
      parameters.forEach(([, parameter], i) => {
        const values = uniform(`scaler.${c.key}.grad${i}.${step}`, parameter.size, 0, c.gradScale);
        const scaled = Float32Array.from(values, (value) => value * scale);
        if (kind && i === step % 2) scaled[step % 12] = kind === 1 ? Infinity : NaN;
        parameter.gradHome!.write(scaled);
        parameter.grad = parameter.gradHome;
      });
      optimizer.prepareStep(c.lr);
      optimizer.step();
      const state = [...scaler.stateDict().values()].map((tensor) => tensor.read());
      states.push((await Promise.all(state)).map(([value]) => value));
    }
    expect(states.map(([scale]) => scale)).toEqual(c.scale);
    expect(states.map(([, tracker]) => tracker)).toEqual(c.tracker);
    expect(states.at(-1)![2]).toBe(c.script.filter((kind) => kind > 0).length);
    for (const [i, [, parameter]] of parameters.entries()) {
      // A rounding of the parameter each step, and that of 1 - lr * decay, which is the same in all of them.
      const tolerance = 1e-6 + c.script.length * 2 ** -24;
      expectClose(await parameter.read(), golden(`${c.key}.param${i}`).values, tolerance, `parameter ${i}`);
    }
    optimizer.free();
  });
});

describe('GradScaler', () => {
  it('scales the loss, and the optimizer takes that out again before it clips', async () => {
    const gpu = engine();
    const p = gpu.tensor([3, 4]).requiresGrad_();
    const scaler = new GradScaler(gpu, { initScale: 1024 });
    const optimizer = new AdamW([{ parameters: [['p', p]], weightDecay: 0 }], { scaler, maxNorm: 1 });
    optimizer.prepareStep(0.1);
    const loss = sum(mul(p, p));
    const scaled = scaler.scale(loss);
    scaled.backward();
    expect(await scaled.item()).toBe(1024 * 25);
    expect(Array.from(await p.grad!.read())).toEqual([6 * 1024, 8 * 1024]);
    optimizer.step();
    expect(Array.from(await optimizer.norm!.read())).toEqual([10, 0, 1 / 1024, 0]);
    // Clipped to norm 1, the gradient is (0.6, 0.8), and the running mean a tenth of that.
    const [m] = optimizer.stateDict().values();
    expectClose(await m.read(), [0.06, 0.08], 1e-6);
    optimizer.free();
  });

  it('a recorded step goes on adapting the scale in its replays', async () => {
    const gpu = engine();
    const p = gpu.tensor([1, 2]).requiresGrad_().keep();
    const factor = gpu.tensor([1]).keep();
    const scaler = new GradScaler(gpu, { initScale: 4, growthInterval: 2 });
    const optimizer = new AdamW([{ parameters: [['p', p]], weightDecay: 0 }], { scaler });
    optimizer.prepareStep(0.1);
    const history = gpu.zeros([1]).keep();
    const recording = gpu.record(() => {
      optimizer.zeroGrad();
      scaler.scale(sum(mul(p, factor))).backward();
      optimizer.step();
      gpu.copy(collect([scaler.factor]), history);
    });
    const scales = [await history.item()];
    for (const value of [1, 1, Infinity, 1]) {
      factor.write([value]);
      optimizer.prepareStep(0.1);
      gpu.replay(recording);
      scales.push(await history.item());
    }
    expect(scales).toEqual([4, 8, 8, 4, 4]);
    recording.release();
    optimizer.free();
  });

  it('faults are losses that are not finite, and overflows that no scale is to blame for', async () => {
    const gpu = engine();
    const step = async (initScale: number, gradient: number, count: number, permanent: boolean) => {
      const p = gpu.tensor([1]).requiresGrad_();
      const guard = { count: gpu.tensor([count]).keep(), permanent };
      const optimizer = new AdamW([{ parameters: [['p', p]], weightDecay: 0 }], {
        scaler: new GradScaler(gpu, { initScale }),
      });
      optimizer.guard = guard;
      optimizer.prepareStep(0.1);
      p.gradHome!.write([gradient]);
      p.grad = p.gradHome;
      optimizer.step();
      const [, bad, , faults] = await optimizer.norm!.read();
      return { bad, faults, counted: await guard.count.item(), moved: (await p.item()) !== 1 };
    };
    expect(await step(2, Infinity, 0, true)).toEqual({ bad: 1, faults: 0, counted: 0, moved: false });
    expect(await step(1, Infinity, 0, true)).toEqual({ bad: 1, faults: 1, counted: 1, moved: false });
    expect(await step(2, 1, 1, true)).toEqual({ bad: 1, faults: 1, counted: 1, moved: false });
    expect(await step(2, 1, 1, false)).toEqual({ bad: 1, faults: 1, counted: 0, moved: false });
    expect(await step(2, 1, 0, true)).toEqual({ bad: 0, faults: 0, counted: 0, moved: true });
  });

  it('takes up its state', async () => {
    const scaler = new GradScaler(engine());
    scaler.loadStateDict(
      new Map(['scale', 'growth_tracker', 'skipped'].map((name, i) => [name, { shape: [], data: [[512, 7, 3][i]] }])),
    );
    const state = [...scaler.stateDict().values()].map((tensor) => tensor.item());
    expect(await Promise.all(state)).toEqual([512, 7, 3]);
    expect(() => scaler.loadStateDict(new Map())).toThrow(/state-mismatch/);
    expect(() => new GradScaler(engine(), { initScale: 0 })).toThrow(/bad-argument/);
  });
});

it('a loss scale is a positive number that a doubling leaves finite in f32', () => {
  for (const initScale of [0, -1, NaN, 2 ** 127, Infinity])
    expect(() => new GradScaler(engine(), { initScale })).toThrow(/A loss scale is a positive number/);
  expect(() => new GradScaler(engine(), { initScale: 2 ** 126 })).not.toThrow();
});

it('the scale grows after 2000 good steps in a row, as torch.amp.GradScaler', async () => {
  const gpu = engine();
  const p = gpu.tensor([1, 2]).requiresGrad_().keep();
  const scaler = new GradScaler(gpu);
  const optimizer = new AdamW([{ parameters: [['p', p]], weightDecay: 0 }], { scaler });
  const at = { scale: 512, growth_tracker: 1998, skipped: 0 };
  scaler.loadStateDict(new Map(Object.entries(at).map(([name, value]) => [name, { shape: [], data: [value] }])));
  const scales: number[] = [];
  for (let i = 0; i < 2; i++) {
    optimizer.prepareStep(0.1);
    optimizer.zeroGrad();
    scaler.scale(sum(p)).backward();
    optimizer.step();
    scales.push(await scaler.factor.item());
  }
  expect(scales).toEqual([512, 1024]);
  optimizer.free();
  scaler.free();
});
