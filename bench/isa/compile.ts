/**
 * Child process: compiles the programs of a list on the one adapter that the environment offers. What the driver writes about
 * each goes to stderr between marks; stdout gets a JSON line a program that fails, and the adapter's name.
 *     tsx compile.ts LIST.json
 */
import { readFileSync, writeSync } from 'node:fs';
import { create, globals } from 'webgpu';
import { MARK } from './programs.ts';
import type { Program } from './programs.ts';

Object.assign(globalThis, globals);
const programs = JSON.parse(readFileSync(process.argv[2], 'utf8')) as Program[];
// Promises of WebGPU are kept by the instance: without it they would wait for ever.
const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error('no adapter');
const { info } = adapter;
const say = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`);
say({ adapter: `${info.device} ${info.description}`.trim() });
const limits = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxStorageBuffersPerShaderStage',
] as const;
const device = await adapter.requestDevice({
  requiredFeatures: [...adapter.features].filter((name) => /f16|subgroup/.test(name)) as GPUFeatureName[],
  requiredLimits: Object.fromEntries(limits.map((name) => [name, adapter.limits[name]])),
});
for (const { id, name, code, access, hasUniforms } of programs) {
  writeSync(2, `\n${MARK}${id}\n`);
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  const module = device.createShaderModule({ code });
  const types: GPUBufferBindingType[] = access.map((one) => (one === 'read' ? 'read-only-storage' : 'storage'));
  if (hasUniforms) types.push('uniform');
  const entries = types.map((type, binding) => ({ binding, visibility: 4, buffer: { type } }));
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  device.createComputePipeline({ layout, compute: { module, entryPoint: 'main' } });
  const errors = [await device.popErrorScope(), await device.popErrorScope()].filter((error) => error !== null);
  if (errors.length > 0) say({ failed: id, name, message: errors[0].message });
}
writeSync(2, `\n${MARK}\n`);
// The device has nothing to wait for.
process.exit(0);
