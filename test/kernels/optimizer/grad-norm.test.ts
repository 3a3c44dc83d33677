import { describe, expect, it } from 'vitest';
import { blockTable, flatGradients, gradNorm } from '../../../engine/node.ts';
import { gradNorm as gradNormKernel } from '../../../kernels/optimizer/grad-norm/index.ts';
import { gradNormReference } from '../../../kernels/optimizer/grad-norm/reference.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';
import { model, writeGradients } from '../../support/flat-model.ts';

const engine = useEngine();

describe.each(gradNormKernel.variants)('gradient norm, variant %s', (variant) => {
  const own = useEngine({ variant });

  it('is the norm of all elements and counts those that are not finite', async () => {
    const net = model(own());
    const gradients = writeGradients(net, 1, 1e-3).map((g) => [...g]);
    const expected = gradNormReference(gradients.flat());
    expect(expected[1]).toBe(0);
    const [norm, bad] = await gradNorm(net).read();
    expect(bad).toBe(0);
    expectClose([norm], [expected[0]], 2e-7);
    gradients[0] = [NaN, Infinity, -Infinity, ...new Array<number>(12).fill(2)];
    net.parameters[0].gradHome!.write(gradients[0]);
    const [rest, three] = gradNormReference(gradients.flat());
    const found = await gradNorm(net).read();
    expect(found[1]).toBe(three);
    expectClose([found[0]], [rest], 2e-7);
  });

  it('reports an overflow of the sum of squares', async () => {
    const net = model(own());
    writeGradients(net, 1);
    net.parameters[0].gradHome!.write(new Float32Array(15).fill(1e30));
    expect((await gradNorm(net).read())[1]).toBe(1);
  });
});

describe('gradient norm', () => {
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
    const small = () => chunked;
    gpu.run('gradNorm', small, { n }, { gradients, blocks, norm: out });
    expectClose([(await out.read())[0]], [norm], 2e-7);
  });

  it('names mistakes', () => {
    const gpu = engine();
    const net = model(gpu);
    const other = gpu.zeros([64]);
    expect(() => flatGradients([other], net.flat)).toThrow(/does not live in the flat buffer/);
  });
});
