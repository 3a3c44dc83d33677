import { launch, output } from '../../engine/node.ts';
import type { Kernel } from '../../engine/node.ts';

/** Writes to x[0] by a kernel that no adapter compiles; another text, and another error, for each seed. */
export const brokenKernel: Kernel<{ seed: number }> = ({ seed }) => [
  launch({
    name: 'broken',
    bindings: [output('x')],
    wgsl: `@compute @workgroup_size(1) fn main() { x[0] = no_such_function(${seed}); }`,
    grid: [1, 1, 1],
    cost: { flops: 0, bytes: 0 },
  }),
];
