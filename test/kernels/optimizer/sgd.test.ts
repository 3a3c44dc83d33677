import { describe, expect, it } from 'vitest';
import { blockTable, sgdHyper, sgdStep } from '../../../engine/node.ts';
import { sgd } from '../../../kernels/optimizer/sgd/index.ts';
import { sgdReference } from '../../../kernels/optimizer/sgd/reference.ts';
import { expectClose } from '../../support/close.ts';
import { useEngineAs } from '../../support/device-profiles.ts';
import { groupOf, model, SHAPES, start, writeGradients } from '../../support/flat-model.ts';

describe.each(sgd.variants)('SGD, variant %s', (variant) => {
  const engine = useEngineAs({}, variant);
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
          const own = { ...settings, lr: 0.1, weightDecay: weightDecay[groupOf(i)] };
          sgdReference(own, step, { p: x, b: b64[i] }, gradients[i]);
        });
      }
      for (const [i, parameter] of net.parameters.entries()) {
        // Four updates of f32 numbers: a few roundings of 6e-8 each.
        expectClose(await parameter.read(), p[i], 3e-7, `parameter ${i}`);
      }
    });
  }

  it('names mistakes', () => {
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
  });
});
