import { f32, input, launch, output } from '../../engine/index.ts';
import type { Engine, Kernel } from '../../engine/index.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';
import { styled } from './style.ts';

/** y[i] = scale * x[i] + i over one workgroup: exact in f32, so the check below allows no error at all. */
const probe: Kernel<{ scale: number }> = ({ scale }) => [
  launch({
    name: 'doctor.probe',
    bindings: [input('x'), output('y')],
    uniforms: { scale: f32(scale) },
    wgsl: `@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = params.scale * x[id.x] + f32(id.x); }`,
    grid: [1, 1, 1],
    cost: { flops: 128, bytes: 512 },
  }),
];

export interface DoctorReport {
  adapter: Engine['adapter'];
  subgroupSize: number;
  limits: Record<string, number>;
  dispatch: { ok: boolean; firstMs: number; roundTripMs: number };
  node: string;
  platform: string;
}

/** `deit doctor`: finds the adapter, dispatches a kernel, checks its result, prints limits and features. */
export async function doctor(options: GlobalOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const report = await examine(engine);
    const { adapter, limits, dispatch } = report;
    const rows: [string, string][] = [
      ['node', `${report.node} on ${report.platform}`],
      ['vendor', `${adapter.vendor} ${adapter.architecture}`],
      ['chosen', adapter.choice],
      ['subgroups', report.subgroupSize > 0 ? `${report.subgroupSize} lanes` : 'not of one size, or none'],
      ['features', adapter.features.join(', ')],
      ...Object.entries(limits).map(([name, value]): [string, string] => [name, value.toLocaleString('en-US')]),
      ['first dispatch', `${dispatch.firstMs.toFixed(1)} ms (compiles)`],
      ['round trip', `${dispatch.roundTripMs.toFixed(2)} ms`],
      ['check', dispatch.ok ? 'a kernel ran and its result is right' : 'A KERNEL RAN AND ITS RESULT IS WRONG'],
    ];
    const width = Math.max(...rows.map(([name]) => name.length));
    for (const [name, value] of rows) say(`  ${styled('bold', name.padEnd(width))}  ${value}`);
    if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    if (!dispatch.ok) process.exitCode = 1;
  });
}

async function examine(engine: Engine): Promise<DoctorReport> {
  const values = Array.from({ length: 64 }, (_, i) => i * 0.25 - 3);
  const x = engine.tensor(values);
  const run = async (): Promise<ArrayLike<number>> => {
    const y = engine.empty([64]);
    engine.run('doctor', probe, { scale: 2 }, { x, y });
    return y.read();
  };
  const start = performance.now();
  const result = await run();
  const firstMs = performance.now() - start;
  const again = performance.now();
  await run();
  const roundTripMs = performance.now() - again;
  const { limits } = engine;
  return {
    adapter: engine.adapter,
    subgroupSize: engine.profile.subgroupSize,
    limits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    },
    dispatch: { ok: values.every((value, i) => result[i] === 2 * value + i), firstMs, roundTripMs },
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}
