/**
 * y[i] = the single element of tensor number i. Gathers a step's losses and counts into one small tensor, so that the
 * host reads one thing, late. Bindings are named s0, s1, ... and y.
 *
 * No gradient. Cost: one dispatch. `deit kernel collect` shows the kernel.
 */
import { input, launch, output, require } from '../lib/kernel.ts';
import type { Kernel } from '../lib/kernel.ts';
import { range } from '../lib/unroll.ts';

export const collect: Kernel<{ count: number }> = ({ count }, device) => {
  require(count >= 1 &&
    count < device.maxStorageBuffers, 'collect', `1 to ${device.maxStorageBuffers - 1} scalars`, count);
  const names = range(count).map((i) => `s${i}`);
  return [
    launch({
      name: 'collect',
      bindings: [...names.map((name) => input(name)), output('y')],
      wgsl: `@compute @workgroup_size(1)
fn main() {
${names.map((name, i) => `  y[${i}] = ${name}[0];`).join('\n')}
}`,
      grid: [1, 1, 1],
      cost: { flops: 0, bytes: 8 * count },
    }),
  ];
};
