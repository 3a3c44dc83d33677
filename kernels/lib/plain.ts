import { ceilDiv, foldGrid } from './device.ts';
import type { DeviceProfile } from './device.ts';
import { launch, u32 } from './kernel.ts';
import type { Launch, LaunchSpec } from './kernel.ts';
import type { Variant } from './variant.ts';

/*
 * The variant `plain` of a kernel computes its formula in the most straightforward way, on any device: one invocation an
 * element or a row, no subgroups, no workgroup memory, no vectors. It is the first one to read, and the one that the others
 * are checked against; nothing but its name chooses it.
 */
export const plain = <Problem>(
  /** Bytes of the largest tensor, which a plain kernel binds whole. */
  bytes: (problem: Problem) => number,
  launches: (problem: Problem, device: DeviceProfile) => Launch[],
): Variant<Problem> => ({
  name: 'plain',
  fits: (problem, device) => bytes(problem) <= device.maxBindingSize,
  use: () => 'named',
  launches,
});

export interface PerInvocationSpec extends Omit<LaunchSpec, 'wgsl' | 'grid'> {
  /** WGSL functions that the body calls. */
  readonly functions?: string;
  /** Invocations. */
  readonly count: number;
  /** Statements of invocation number `i`. */
  readonly body: string;
}

/** One launch in which invocation number i, below `count`, executes `body`. */
export const perInvocation = (
  { count, functions = '', body, ...spec }: PerInvocationSpec,
  device: DeviceProfile,
): Launch =>
  launch({
    ...spec,
    uniforms: { invocations: u32(count), ...spec.uniforms },
    wgsl: /* wgsl */ `${functions}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  // A grid of more workgroups than one dimension takes is folded into two.
  let i = id.y * workgroups.x * 64u + id.x;
  if (i >= params.invocations) { return; }
  ${body.trim()}
}`,
    grid: foldGrid(ceilDiv(count, 64), device),
  });
