import { expect, it } from 'vitest';
import { createDryEngine } from '../../engine/dry-engine.ts';
import { input, launch, output } from '../../engine/node.ts';
import type { Kernel } from '../../engine/node.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';

const MiB = 2 ** 20;

const copies: Kernel<object> = () => [
  launch({
    name: 'copies',
    bindings: [input('x'), output('out')],
    uniforms: {},
    wgsl: '@compute @workgroup_size(1) fn main() { out[0] = x[0]; }',
    grid: [1, 1, 1],
    cost: { flops: 0, bytes: 0 },
  }),
];

it('a tensor that a binding cannot hold is refused by the name of the kernel and the binding, to the last byte', () => {
  const { engine } = createDryEngine({ ...deviceProfiles.any, maxBindingSize: MiB });
  const bound = (elements: number) => () =>
    engine.run('big', copies, {}, { x: engine.empty([elements]), out: engine.empty([1]) });
  expect(bound(MiB / 4)).not.toThrow();
  expect(bound(MiB / 4 + 1)).toThrow(/limit-exceeded[\s\S]*kernel copies, binding x[\s\S]*at most 1048576 bytes/);
  engine.close();
});
