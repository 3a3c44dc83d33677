import { globals } from 'webgpu';
import { describe, expect, it } from 'vitest';
import { CompileAhead } from '../../engine/gpu/compile-ahead.ts';
import { PipelineBuilder } from '../../engine/gpu/pipeline-builder.ts';
import { input, launch, output, u32 } from '../../kernels/lib/kernel.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { useEngine } from '../support/engine.ts';

// The constants of buffer usage, which the fakes below are given too.
Object.assign(globalThis, globals);

const kernel = (name: string, padding = 0): Launch =>
  launch({
    name,
    bindings: [input('a'), input('b'), output('y'), output('z')],
    uniforms: { n: u32(4) },
    wgsl: /* wgsl */ `
@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) i: u32) { y[i] = a[i] + f32(params.n); z[i] = b[i]; }
// ${name} ${'.'.repeat(padding)}`,
    grid: [1, 1, 1],
    cost: { flops: 0, bytes: 0 },
  });

interface Devices {
  readonly device: GPUDevice;
  /** Labels of the pipelines dispatched on it, in order. */
  readonly dispatched: string[];
  destroyed: boolean;
}

/** A device that takes `ms` for whatever it is given. */
function fakeDevice(ms: number): Devices {
  const nothing = (): void => undefined;
  const fake: Devices = { device: null as unknown as GPUDevice, dispatched: [], destroyed: false };
  const pass = {
    setPipeline: ({ label }: GPUComputePipeline) => fake.dispatched.push(label),
    setBindGroup: nothing,
    dispatchWorkgroupsIndirect: nothing,
    end: nothing,
  };
  const device = {
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    createShaderModule: () => ({}),
    createComputePipelineAsync: ({ label }: GPUComputePipelineDescriptor) => Promise.resolve({ label }),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createBindGroup: () => ({}),
    createBuffer: () => ({}),
    createCommandEncoder: () => ({ beginComputePass: () => pass, finish: () => ({}) }),
    queue: { submit: nothing, onSubmittedWorkDone: () => new Promise((resolve) => void setTimeout(resolve, ms)) },
    destroy: () => (fake.destroyed = true),
  };
  return Object.assign(fake, { device: device as unknown as GPUDevice });
}

const pipelineOf = ({ name }: Launch): GPUComputePipeline => ({ label: name }) as GPUComputePipeline;

describe('compiling ahead', () => {
  const kernels = [kernel('short'), kernel('long', 300), kernel('medium', 100), kernel('longer', 400)];

  it('stays on one device where kernels come from the cache', async () => {
    const home = fakeDevice(1);
    let opened = 0;
    const ahead = new CompileAhead(new PipelineBuilder(home.device), () => {
      opened++;
      return Promise.reject(new Error('not expected'));
    });
    await Promise.all(kernels.map((one) => ahead.compile(one, pipelineOf(one))));
    expect(home.dispatched).toEqual(['short', 'longer', 'long', 'medium']);
    expect(opened).toBe(0);
  });

  it('shares out what takes long, the longest first, and lets the second device go', async () => {
    const [home, away] = [fakeDevice(80), fakeDevice(80)];
    const ahead = new CompileAhead(new PipelineBuilder(home.device), () => Promise.resolve(away.device));
    await Promise.all(kernels.map((one) => ahead.compile(one, pipelineOf(one))));
    expect([...home.dispatched, ...away.dispatched].sort()).toEqual(['long', 'longer', 'medium', 'short']);
    expect(home.dispatched.slice(0, 1)).toEqual(['short']);
    expect(new Set([home.dispatched[1], away.dispatched[0]])).toEqual(new Set(['longer', 'long']));
    expect(away.destroyed).toBe(true);
  });

  it('goes on alone without a second device', async () => {
    const home = fakeDevice(60);
    const ahead = new CompileAhead(new PipelineBuilder(home.device), () => Promise.reject(new Error('none')));
    await Promise.all(kernels.map((one) => ahead.compile(one, pipelineOf(one))));
    expect(home.dispatched).toHaveLength(4);
  });

  it('leaves nobody waiting once closed', async () => {
    const home = fakeDevice(5);
    const ahead = new CompileAhead(new PipelineBuilder(home.device), () => Promise.reject(new Error('none')));
    const all = Promise.all(kernels.map((one) => ahead.compile(one, pipelineOf(one))));
    ahead.close();
    await all;
    expect(home.dispatched).toEqual(['short']);
  });
});

describe('a dispatch of nothing', () => {
  const engine = useEngine();

  it('is valid for any bindings, and writes nothing', async () => {
    const { device } = engine()['context'];
    const builder = new PipelineBuilder(device);
    const one = kernel('nothing');
    device.pushErrorScope('validation');
    await new CompileAhead(builder, () => Promise.reject(new Error('none'))).compile(one, await builder.build(one));
    expect(await device.popErrorScope()).toBeNull();
  });
});
