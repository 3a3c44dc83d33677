import { describe, expect, it } from 'vitest';
import {
  adamWHyper,
  adamWStep,
  blockTable,
  emaStep,
  flatGradients,
  gradNorm,
  sgdHyper,
  sgdStep,
} from '../../../engine/node.ts';
import type { Engine, Tensor } from '../../../engine/node.ts';
import { gradNorm as gradNormKernel } from '../../../kernels/optimizer/grad-norm/index.ts';
import { expectClose, uniform } from '../../support/close.ts';
import { useEngine } from '../../support/engine.ts';

const engine = useEngine();

const SHAPES = [[3, 5], [1], [7], [64], [65], [130, 33], [2, 2]];
/** Weight decay for matrices only, as in the recipe: two groups. */
const groupOf = (index: number): number => (SHAPES[index].length > 1 ? 1 : 0);

interface Model {
  parameters: Tensor[];
  flat: Tensor;
  gradients: Tensor;
  blocks: Tensor;
  zeros: () => Tensor;
}

function model(gpu: Engine): Model {
  const parameters = SHAPES.map((shape, i) =>
    gpu.tensor(
      uniform(
        shape.reduce((a, b) => a * b),
        i,
      ),
      shape,
    ),
  );
  const flat = gpu.pack(parameters, 'parameters');
  const gradients = flatGradients(parameters, flat);
  return {
    parameters,
    flat,
    gradients,
    blocks: blockTable(gpu, parameters, groupOf),
    zeros: () => gpu.zeros(flat.shape),
  };
}

/** The gradient of step s: NaN in the padding of the whole buffer, which no kernel may let through. */
function writeGradients({ parameters, gradients }: Model, s: number, scale = 1): Float64Array[] {
  gradients.write(new Float32Array(gradients.size).fill(NaN));
  return parameters.map((parameter, i) => {
    const values = uniform(parameter.size, 100 * s + i, scale);
    parameter.gradHome!.write(values);
    return Float64Array.from(values);
  });
}

const start = (i: number): Float64Array =>
  Float64Array.from(
    uniform(
      SHAPES[i].reduce((a, b) => a * b),
      i,
    ),
  );
const normOf = (gradients: Float64Array[]): number =>
  Math.sqrt(gradients.flatMap((g) => [...g]).reduce((a, g) => a + g * g, 0));

describe('AdamW', () => {
  const lr = (s: number) => 1e-2 / s;
  const [beta1, beta2, eps] = [0.9, 0.999, 1e-8];
  const weightDecay = [0, 0.3];

  for (const maxNorm of [0, 2]) {
    it(`follows the formula in float64 over five steps${maxNorm ? ', clipped' : ''}`, async () => {
      const gpu = engine();
      const net = model(gpu);
      const [m, v] = [net.zeros(), net.zeros()];
      const hyper = gpu.zeros([2, 4]);
      const p = SHAPES.map((_, i) => start(i));
      const m64 = p.map((x) => new Float64Array(x.length));
      const v64 = p.map((x) => new Float64Array(x.length));
      for (let step = 1; step <= 5; step++) {
        const gradients = writeGradients(net, step);
        hyper.write(weightDecay.flatMap((wd) => [...adamWHyper({ lr: lr(step), weightDecay: wd, step })]));
        const norm = maxNorm ? gradNorm(net) : null;
        adamWStep({ parameters: net.flat, gradients: net.gradients, m, v, blocks: net.blocks, hyper, norm, maxNorm });
        const coefficient = maxNorm ? Math.min(1, maxNorm / (normOf(gradients) + 1e-6)) : 1;
        p.forEach((x, i) => {
          for (let j = 0; j < x.length; j++) {
            const g = gradients[i][j] * coefficient;
            x[j] *= 1 - lr(step) * weightDecay[groupOf(i)];
            m64[i][j] = beta1 * m64[i][j] + (1 - beta1) * g;
            v64[i][j] = beta2 * v64[i][j] + (1 - beta2) * g * g;
            const denominator = Math.sqrt(v64[i][j]) / Math.sqrt(1 - beta2 ** step) + eps;
            x[j] -= ((lr(step) / (1 - beta1 ** step)) * m64[i][j]) / denominator;
          }
        });
      }
      for (const [i, parameter] of net.parameters.entries()) {
        // Five updates of f32 numbers: a few roundings of 6e-8 each.
        expectClose(await parameter.read(), p[i], 3e-7, `parameter ${i}`);
      }
      // The padding stays zero, whatever the gradients had there.
      const used = net.parameters.reduce((sum, parameter) => sum + parameter.size, 0);
      expect((await net.flat.read()).filter((x) => x === 0)).toHaveLength(net.flat.size - used);
      expect((await m.read()).every(Number.isFinite)).toBe(true);
    });
  }

  it('changes nothing when a gradient is not finite', async () => {
    const gpu = engine();
    const net = model(gpu);
    const [m, v] = [net.zeros(), net.zeros()];
    const hyper = gpu.tensor(
      [0, 0].flatMap(() => [...adamWHyper({ lr: 1, weightDecay: 0.1, step: 1 })]),
      [2, 4],
    );
    writeGradients(net, 1);
    net.parameters[1].gradHome!.write([Infinity]);
    const before = await net.flat.read();
    const norm = gradNorm(net);
    adamWStep({ parameters: net.flat, gradients: net.gradients, m, v, blocks: net.blocks, hyper, norm });
    expect(await net.flat.read()).toEqual(before);
    expect((await m.read()).every((x) => x === 0)).toBe(true);
    expect((await norm.read())[1]).toBe(1);
  });

  it('scales the gradient by the factor of its group', async () => {
    const gpu = engine();
    const [one, other] = [model(gpu), model(gpu)];
    for (const [net, scale] of [
      [one, 1],
      [other, 1024],
    ] as const) {
      writeGradients(net, 1, scale);
      const row = adamWHyper({ lr: 0.1, weightDecay: 0, step: 1, gradientScale: 1 / scale });
      const hyper = gpu.tensor([...row, ...row], [2, 4]);
      adamWStep({
        parameters: net.flat,
        gradients: net.gradients,
        m: net.zeros(),
        v: net.zeros(),
        blocks: net.blocks,
        hyper,
      });
    }
    expect(await one.flat.read()).toEqual(await other.flat.read());
  });
});

describe('SGD', () => {
  const cases = [
    { momentum: 0, nesterov: false, dampening: 0 },
    { momentum: 0.9, nesterov: false, dampening: 0 },
    { momentum: 0.9, nesterov: false, dampening: 0.3 },
    { momentum: 0.9, nesterov: true, dampening: 0 },
  ];
  for (const settings of cases) {
    it(`follows the formula in float64: ${JSON.stringify(settings)}`, async () => {
      const gpu = engine();
      const net = model(gpu);
      const { momentum, nesterov, dampening } = settings;
      const momentumBuffer = momentum ? net.zeros() : null;
      const hyper = gpu.zeros([2, 4]);
      const weightDecay = [0, 0.1];
      const p = SHAPES.map((_, i) => start(i));
      const b64 = p.map((x) => new Float64Array(x.length));
      for (let step = 1; step <= 4; step++) {
        const gradients = writeGradients(net, step);
        hyper.write(weightDecay.flatMap((wd) => [...sgdHyper({ lr: 0.1, weightDecay: wd, dampening, step })]));
        sgdStep({
          parameters: net.flat,
          gradients: net.gradients,
          momentumBuffer,
          blocks: net.blocks,
          hyper,
          momentum,
          nesterov,
        });
        p.forEach((x, i) => {
          for (let j = 0; j < x.length; j++) {
            const g = gradients[i][j] + weightDecay[groupOf(i)] * x[j];
            b64[i][j] = step === 1 ? g : momentum * b64[i][j] + (1 - dampening) * g;
            x[j] -= 0.1 * (momentum === 0 ? g : nesterov ? g + momentum * b64[i][j] : b64[i][j]);
          }
        });
      }
      for (const [i, parameter] of net.parameters.entries()) {
        // Four updates of f32 numbers: a few roundings of 6e-8 each.
        expectClose(await parameter.read(), p[i], 3e-7, `parameter ${i}`);
      }
    });
  }
});

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
});

describe('moving average', () => {
  it('is d e + (1 - d) p, with 1 - d to full precision', async () => {
    const gpu = engine();
    const decay = 0.99996;
    const [e, p] = [uniform(101, 1), uniform(101, 2, 1e6)];
    const average = gpu.tensor(e);
    emaStep({ average, values: gpu.tensor(p), decay });
    const expected = Array.from(e, (x, i) => decay * x + (1 - decay) * p[i]);
    expectClose(await average.read(), expected, 2e-7);
  });
});

describe('mistakes', () => {
  it('are named', () => {
    const gpu = engine();
    const net = model(gpu);
    const hyper = gpu.zeros([2, 4]);
    const other = gpu.zeros([64]);
    const base = { parameters: net.flat, gradients: net.gradients, blocks: net.blocks, hyper };
    expect(() => sgdStep({ ...base, gradients: other })).toThrow(/gradients does not fit/);
    expect(() => sgdStep({ ...base, blocks: blockTable(gpu, [other]) })).toThrow(/blocks does not fit/);
    expect(() => sgdStep({ ...base, momentum: 0.9 })).toThrow(/Momentum needs a buffer/);
    expect(() => sgdStep({ ...base, maxNorm: 1 })).toThrow(/Clipping needs the norm/);
    expect(() => sgdStep({ ...base, hyper: gpu.zeros([7]) })).toThrow(/hyper does not fit/);
    expect(() => adamWStep({ ...base, m: net.zeros(), v: net.zeros(), eps: 0 })).toThrow(/eps > 0/);
    expect(() => adamWHyper({ lr: 1, weightDecay: 0, step: 0 })).toThrow(/counted from 1/);
    expect(() => flatGradients([other], net.flat)).toThrow(/does not live in the flat buffer/);
  });
});
