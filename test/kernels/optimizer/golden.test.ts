import { describe, expect, it } from 'vitest';
import { adamWHyper, adamWStep, blockTable, flatGradients, gradNorm, sgdHyper, sgdStep } from '../../../engine/node.ts';
import type { Tensor } from '../../../engine/node.ts';
import { expectClose, relativeError } from '../../support/close.ts';
import { goldenJson, goldenTensors } from '../../support/golden.ts';
import { useEngine } from '../../support/engine.ts';
import { uniform } from '../../support/generator.ts';

/** Ten steps of torch.optim in float64: see test/golden/optim.py. */
interface OptimCase {
  key: string;
  optimizer: 'adamw' | 'sgd';
  options: { betas?: [number, number]; eps?: number; momentum?: number; nesterov?: boolean };
  lr: number[];
  weightDecay: number[];
  gradScale: number[];
  maxNorm: number | null;
  steps: number;
  shapes: number[][];
}

const cases = goldenJson<OptimCase[]>('optim.json');
const golden = goldenTensors('optim.safetensors');
const count = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

describe('optimizers against torch.optim', () => {
  const engine = useEngine();

  it.each(cases)('$key', async (c) => {
    const gpu = engine();
    const parameters = c.shapes.map((shape, i) => gpu.tensor(uniform(`optim.${c.key}.param${i}`, count(shape)), shape));
    const flat = gpu.pack(parameters, 'parameters');
    const gradients = flatGradients(parameters, flat);
    const blocks = blockTable(gpu, parameters, (i) => i);
    const hyper = gpu.zeros([c.shapes.length, 4]);
    const state = (): Tensor => gpu.zeros(flat.shape);
    const [m, v, momentumBuffer] = [state(), state(), state()];
    const { betas: [beta1, beta2] = [0.9, 0.999], eps, momentum = 0, nesterov } = c.options;
    const maxNorm = c.maxNorm ?? 0;
    const states: Record<string, Tensor> =
      c.optimizer === 'adamw' ? { exp_avg: m, exp_avg_sq: v } : momentum > 0 ? { momentum_buffer: momentumBuffer } : {};
    const norms: number[] = [];
    for (let t = 0; t < c.steps; t++) {
      parameters.forEach(({ gradHome, size }, i) => {
        gradHome!.write(uniform(`optim.${c.key}.grad${i}.${t}`, size, 0, c.gradScale[t]));
      });
      const step = t + 1;
      const lr = c.lr[t];
      const norm = c.maxNorm === null ? null : gradNorm({ gradients, blocks });
      const base = { parameters: flat, gradients, blocks, hyper, norm, maxNorm };
      if (c.optimizer === 'adamw') {
        hyper.write(c.weightDecay.flatMap((weightDecay) => [...adamWHyper({ lr, weightDecay, step, beta1, beta2 })]));
        adamWStep({ ...base, m, v, beta1, beta2, eps });
      } else {
        hyper.write(c.weightDecay.flatMap((weightDecay) => [...sgdHyper({ lr, weightDecay, step })]));
        sgdStep({ ...base, momentumBuffer, momentum, nesterov });
      }
      if (norm) norms.push((await norm.read())[0]);
    }
    for (const [i, parameter] of parameters.entries()) {
      const { size } = parameter;
      const last = golden(`${c.key}.param${i}`).values.slice(c.steps * size);
      // An update rounds each number a few times by 6e-8, and ten updates add up.
      expect(relativeError(await parameter.read(), last), `parameter ${i}`).toBeLessThan(6e-7);
      for (const [name, tensor] of Object.entries(states)) {
        const place = parameter.offset / 4;
        const found = (await tensor.read()).slice(place, place + size);
        expect(relativeError(found, golden(`${c.key}.${name}${i}`).values), `${name}, parameter ${i}`).toBeLessThan(
          1e-6,
        );
      }
    }
    if (c.maxNorm !== null) expectClose(norms, golden(`${c.key}.norm`).values, 2e-7);
  });
});
