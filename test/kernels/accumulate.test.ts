import { describe, it } from 'vitest';
import { accumulate, sumOf } from '../../kernels/accumulate/index.ts';
import { accumulateReference } from '../../kernels/accumulate/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { f16Tensor, f16Tests, numbers, rounded } from '../support/f16.ts';

const engine = useEngine();
const withF16 = f16Tests(engine);

describe.each(accumulate.variants)('sums of gradients, variant %s', (variant) => {
  it.each([1, 7, 1030])('of %i elements: in place, and as a new tensor', async (n) => {
    const gpu = engine();
    const [a, b] = [uniform(n, 1), uniform(n, 2)];
    const [total, sum, source] = [gpu.tensor(a), gpu.empty([n]), gpu.tensor(b)];
    gpu.run('test', accumulate, { n, variant }, { total, source });
    gpu.run('test', sumOf, { n, variant }, { a: gpu.tensor(a), b: source, sum });
    // One addition, rounded once as the host rounds it.
    const expected = Float32Array.from(accumulateReference(a, b));
    expectClose(await total.read(), expected, 0);
    expectClose(await sum.read(), expected, 0);
  });

  withF16('in f16: added in f32, and rounded once', async () => {
    const gpu = engine();
    const [a, b] = [rounded(uniform(33, 1)), rounded(uniform(33, 2))];
    const total = f16Tensor(gpu, a, [33]);
    gpu.run('test', accumulate, { n: 33, f16: true, variant }, { total, source: f16Tensor(gpu, b, [33]) });
    expectClose(await numbers(total), rounded(accumulateReference(a, b)), 0);
  });
});
