import { keptScale } from '../dropout/index.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { inF16 } from '../lib/f16-storage.ts';
import { f32, input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import { perInvocation } from '../lib/plain.ts';
import { f16Of, nameOf } from './problem.ts';
import type { DropPathProblem } from './problem.ts';

/** One invocation per element, each of which draws the word of its sample. */
export function dropPathPlain(problem: DropPathProblem, device: DeviceProfile): Launch[] {
  const { samples, inner, rate, add } = problem;
  const n = samples * inner;
  const kernel = perInvocation(
    {
      name: `${nameOf(add)}/plain`,
      bindings: [input('x'), ...(add ? [input('residual')] : []), output('y'), input('step', 'u32')],
      uniforms: { inner: u32(inner), ...drawUniforms(problem), rate: f32(rate), scale: f32(keptScale(rate)) },
      functions: drawWgsl,
      count: n,
      body: /* wgsl */ `
  let sample = i / params.inner;
  var value = 0.0;
  // What is dropped is not read: it may be infinite.
  if (uniform01(draw(sample / 4u)[sample % 4u]) >= params.rate) { value = x[i] * params.scale; }
  y[i] = ${add ? 'residual[i] + ' : ''}value;`,
      cost: { flops: (add ? 2 : 1) * n, bytes: (add ? 12 : 8) * n },
    },
    device,
  );
  return inF16([kernel], f16Of(problem));
}
