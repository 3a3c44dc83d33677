import { keptScale } from '../dropout/index.ts';
import { f32, input, output, u32 } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { drawUniforms, drawWgsl } from '../lib/philox.ts';
import { perInvocation } from '../lib/plain.ts';
import { checked } from './problem.ts';
import type { DropPathProblem } from './problem.ts';

/**
 * What `dropPath` multiplies each row of a sample by, y [samples, inner] with so many rows a sample: 1 / (1 - rate) or 0. For
 * kernels that have the rows in their registers (matmul's epilogue, layer norm's gradient). Bindings y, step.
 */
export const dropPathScales: Kernel<DropPathProblem> = (problem, device) => {
  const { samples, inner, rate } = checked(problem);
  const n = samples * inner;
  return [
    perInvocation(
      {
        name: 'dropPath.scales',
        bindings: [output('y'), input('step', 'u32')],
        uniforms: { inner: u32(inner), ...drawUniforms(problem), rate: f32(rate), scale: f32(keptScale(rate)) },
        functions: drawWgsl,
        count: n,
        body: /* wgsl */ `
  let sample = i / params.inner;
  y[i] = select(0.0, params.scale, uniform01(draw(sample / 4u)[sample % 4u]) >= params.rate);`,
        cost: { flops: 0, bytes: 4 * n },
      },
      device,
    ),
  ];
};
