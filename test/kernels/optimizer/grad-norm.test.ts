import { describe, expect, it } from 'vitest';
import { blockTable, flatGradients, gradNorm } from '../../../engine/node.ts';
import { gradNorm as gradNormKernel } from '../../../kernels/optimizer/grad-norm/index.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';
import { model, normOf, writeGradients } from '../../support/flat-model.ts';

const engine = useEngine();

describe('gradient norm', () => {
  it('is the norm of all elements and counts those that are not finite', async () => {
    const gpu = engine();
    const net = model(gpu);
    const gradients = writeGradients(net, 1, 1e-3);
    const [norm, bad] = await gradNorm(net).read();
    expect(bad).toBe(0);
    expectClose([norm], [normOf(gradients)], 2e-7);
    net.parameters[0].gradHome!.write([NaN, Infinity, -Infinity, ...new Array<number>(12).fill(2)]);
    gradients[0] = Float64Array.from([0, 0, 0, ...new Array<number>(12).fill(2)]);
    const [rest, three] = await gradNorm(net).read();
    expect(three).toBe(3);
    expectClose([rest], [normOf(gradients)], 2e-7);
  });

  it('reports an overflow of the sum of squares', async () => {
    const gpu = engine();
    const net = model(gpu);
    writeGradients(net, 1);
    net.parameters[0].gradHome!.write(new Float32Array(15).fill(1e30));
    expect((await gradNorm(net).read())[1]).toBe(1);
  });

  it('sums millions of elements to a few units in the last place, in three stages, alike each time', async () => {
    const gpu = engine();
    const n = 3_000_000 - (3_000_000 % 64);
    const values = uniform(n, 1).map((x) => x + 3);
    const gradients = gpu.tensor(values);
    const blocks = blockTable(gpu, [gradients]);
    const [norm] = await gradNorm({ gradients, blocks }).read();
    expectClose([norm], [Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))], 2e-7);
    expect((await gradNorm({ gradients, blocks }).read())[0]).toBe(norm);
    // The same in chunks, as on a device whose bindings are smaller than the buffer.
    const chunked = gradNormKernel({ n }, { ...gpu.profile, maxBindingSize: 2 ** 20 });
    expect(chunked.filter(({ name }) => name === 'grad_norm/elements')).toHaveLength(12);
    const out = gpu.empty([2]);
    const scratch = { partials: gpu.empty([2 ** 17, 2]), partials2: gpu.empty([2 ** 17, 2]) };
    const small = () => chunked;
    gpu.run('gradNorm', small, { n }, { gradients, blocks, norm: out, ...scratch });
    expectClose([(await out.read())[0]], [norm], 2e-7);
  });

  it('names mistakes', () => {
    const gpu = engine();
    const net = model(gpu);
    const other = gpu.zeros([64]);
    expect(() => flatGradients([other], net.flat)).toThrow(/does not live in the flat buffer/);
  });
});
