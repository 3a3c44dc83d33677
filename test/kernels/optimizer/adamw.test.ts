import { describe, expect, it } from 'vitest';
import { adamWHyper, adamWStep, gradNorm } from '../../../engine/node.ts';
import { adamW } from '../../../kernels/optimizer/adamw/index.ts';
import { adamWReference } from '../../../kernels/optimizer/adamw/reference.ts';
import { expectClose } from '../../support/close.ts';
import { useEngineAs } from '../../support/device-profiles.ts';
import { groupOf, model, normOf, SHAPES, start, writeGradients } from '../../support/flat-model.ts';

describe.each(adamW.variants)('AdamW, variant %s', (variant) => {
  const engine = useEngineAs({}, variant);
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
          const settings = { lr: lr(step), beta1, beta2, eps, weightDecay: weightDecay[groupOf(i)] };
          const g = Float64Array.from(gradients[i], (value) => value * coefficient);
          adamWReference(settings, step, { p: x, m: m64[i], v: v64[i] }, g);
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

  it('names mistakes', () => {
    const gpu = engine();
    const net = model(gpu);
    const hyper = gpu.zeros([2, 4]);
    const base = { parameters: net.flat, gradients: net.gradients, blocks: net.blocks, hyper };
    expect(() => adamWStep({ ...base, m: net.zeros(), v: net.zeros(), eps: 0 })).toThrow(/eps > 0/);
    expect(() => adamWHyper({ lr: 1, weightDecay: 0, step: 0 })).toThrow(/counted from 1/);
  });
});
