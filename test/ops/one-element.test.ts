/** Operators on tensors of one element, which run their kernels as on many, and of none, which run nothing. In debug mode what a kernel leaves out is NaN. */
import { expect, it } from 'vitest';
import * as ops from '../../engine/index.ts';
import type { Tensor } from '../../engine/index.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine({ debug: true });

const index = (): Tensor => engine().tensor([0], [1], 'i32');

/** y of x = [0.5], with what it is, and dx for dy = 1. All are numbers of f32, but for rounding of the last bit. */
const CASES: readonly (readonly [name: string, y: (x: Tensor) => Tensor, value: number, slope: number])[] = [
  ['to f16', (x) => ops.to(x, 'f16'), 0.5, 1],
  ['exp', (x) => ops.exp(x), Math.exp(0.5), Math.exp(0.5)],
  ['mul', (x) => ops.mul(x, x), 0.25, 1],
  ['gelu', (x) => ops.gelu(x), 0.345731230637, 0.8674951246],
  ['softmax', (x) => ops.softmax(x), 1, 0],
  ['layerNorm', (x) => ops.layerNorm(x, null, null), 0, 0],
  ['sum', (x) => ops.sum(x, 0), 0.5, 1],
  ['amax', (x) => ops.amax(x, 0), 0.5, 1],
  ['indexSelect', (x) => ops.indexSelect(x, 0, index()), 0.5, 1],
  ['gather', (x) => ops.gather(x, 0, index()), 0.5, 1],
  ['scatterAdd', (x) => ops.scatterAdd(x, 0, index(), 2), 2.5, 1],
  ['cumsum', (x) => ops.cumsum(x, 0), 0.5, 1],
  ['sort', (x) => ops.sort(x).values, 0.5, 1],
  ['flip', (x) => ops.flip(x, 0), 0.5, 1],
  ['expand', (x) => ops.expand(x, [3, 1]), 0.5, 3],
  ['transpose', (x) => ops.transpose(ops.expand(ops.reshape(x, [1, 1]), [2, 1]), 0, 1), 0.5, 2],
  ['slice', (x) => ops.slice(x, 0, 0, 1), 0.5, 1],
  ['slice of more', (x) => ops.slice(ops.cat([x, x]), 0, 1, 2), 0.5, 1],
  ['cat', (x) => ops.cat([x, x]), 0.5, 2],
  ['pad', (x) => ops.slice(ops.pad(ops.reshape(x, [1, 1]), [1, 0, 0, 0]), 1, 1), 0.5, 1],
  ['where', (x) => ops.where(ops.gt(x, 0), x, 3), 0.5, 1],
  ['where not', (x) => ops.where(ops.gt(x, 1), 3, x), 0.5, 1],
];

it.each(CASES)('%s', async (_name, work, value, slope) => {
  const x = engine().tensor([0.5]).keep().requiresGrad_();
  const [y, dx] = engine().scope(() => {
    const result = work(x);
    result.backward(ops.to(engine().full(result.shape, 1), result.dtype));
    return [ops.to(result, 'f32').read(), x.grad!.read()] as const;
  });
  for (const found of await y) expect(found).toBeCloseTo(value, 6);
  expect((await dx)[0]).toBeCloseTo(slope, 6);
});

it('full, and random numbers', async () => {
  expect([...(await engine().full([1], 7).read())]).toEqual([7]);
  expect((await ops.randomUniform(engine(), [1], { low: 2, high: 3 }).read())[0]).toBeGreaterThanOrEqual(2);
  expect((await ops.randomNormal(engine(), [1], { mean: 5, std: 0 }).read())[0]).toBe(5);
  expect([...(await ops.argsort(engine().tensor([4])).read())]).toEqual([0]);
});

/** Those that may have no element, as in PyTorch. */
const EMPTY: readonly (readonly [name: string, y: (x: Tensor) => Tensor])[] = [
  ['to f16', (x) => ops.to(x, 'f16')],
  ['exp', (x) => ops.exp(x)],
  ['add', (x) => ops.add(x, x)],
  ['mul', (x) => ops.mul(x, x)],
  ['gelu', (x) => ops.gelu(x)],
  ['softmax', (x) => ops.softmax(x)],
  ['indexSelect', (x) => ops.indexSelect(x, 0, engine().tensor([], [0], 'i32'))],
  ['gather', (x) => ops.gather(x, 0, engine().tensor([], [0], 'i32'))],
  ['cumsum', (x) => ops.cumsum(x, 0)],
  ['flip', (x) => ops.flip(x, 0)],
  ['expand', (x) => ops.expand(x, [3, 0])],
  ['transpose', (x) => ops.transpose(ops.expand(ops.reshape(x, [1, 0]), [2, 0]), 0, 1)],
  ['slice', (x) => ops.slice(x, 0, 0, 1)],
  ['cat', (x) => ops.cat([x, x])],
  ['where', (x) => ops.where(ops.gt(x, 0), x, 3)],
];

it.each(EMPTY)('%s of nothing, and its gradient', async (_name, work) => {
  const x = engine().empty([0]).keep().requiresGrad_();
  const [y, dx] = engine().scope(() => {
    // Two passes, whose gradients are added.
    const result = [work(x), work(x)].map((one) => {
      one.backward(ops.to(engine().empty(one.shape), one.dtype));
      return one;
    });
    return [ops.to(result[1], 'f32').read(), x.grad!.read()] as const;
  });
  expect([(await y).length, (await dx).length]).toEqual([0, 0]);
});
