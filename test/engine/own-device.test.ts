import { create } from 'webgpu';
import { describe, expect, it, vi } from 'vitest';
import { createEngine, linear, softmax } from '../../engine/node.ts';
import type { Engine } from '../../engine/node.ts';
import { createEngine as createEngineInBrowser } from '../../engine/index.ts';
import { unhandled } from '../support/unhandled.ts';

// Kept, or Dawn ends the process.
const gpu = create([]);
const COPY = 0x4 | 0x8;
const MAP = 0x1 | 0x8;

async function adapterOfOnesOwn(options?: GPURequestAdapterOptions): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter(options);
  expect(adapter).not.toBeNull();
  return adapter!;
}

/** softmax([[1, 2]] W^T + b) for W the unit matrix and b = (0, ln 3 - 1): one part in four, three in four. */
async function expectQuarters(engine: Engine): Promise<void> {
  const x = engine.tensor([[1, 2]]);
  const weight = engine.tensor([
    [1, 0],
    [0, 1],
  ]);
  const found = await softmax(linear(x, weight, engine.tensor([0, Math.log(3) - 1]))).read();
  expect(found[0]).toBeCloseTo(0.25, 6);
  expect(found[1]).toBeCloseTo(0.75, 6);
}

/** Whether the device still takes commands on a buffer; it refuses those that were destroyed. */
async function isAlive(device: GPUDevice, buffer: GPUBuffer): Promise<boolean> {
  device.pushErrorScope('validation');
  const encoder = device.createCommandEncoder();
  const other = device.createBuffer({ size: 4, usage: COPY });
  if (buffer.usage & 0x4) encoder.copyBufferToBuffer(buffer, 0, other, 0, 4);
  else encoder.copyBufferToBuffer(other, 0, buffer, 0, 4);
  device.queue.submit([encoder.finish()]);
  return (await device.popErrorScope()) === null;
}

describe('createEngine({ adapter })', () => {
  it('opens the device of an adapter of its own, with all that the adapter has', async () => {
    const adapter = await adapterOfOnesOwn();
    const engine = await createEngine({ adapter });
    expect(engine.adapter).toMatchObject({ choice: 'given', description: adapter.info.description, advice: null });
    expect(engine.limits.maxStorageBufferBindingSize).toBe(adapter.limits.maxStorageBufferBindingSize);
    expect(engine.profile.f16).toBe(adapter.features.has('shader-f16'));
    await expectQuarters(engine);
    // An adapter yields one device.
    await expect(createEngine({ adapter })).rejects.toThrow(/no-adapter[\s\S]*consumed[\s\S]*an adapter yields one/);
    engine.close();
  });

  it.each([
    ['in Node', createEngine],
    ['in browsers', createEngineInBrowser],
  ])('computes on a device with the least limits and no features, %s', async (_, open) => {
    const device = await (await adapterOfOnesOwn()).requestDevice();
    const engine = await open({ adapter: device });
    expect(engine.profile).toMatchObject({
      maxInvocationsPerWorkgroup: 256,
      maxWorkgroupStorage: 16384,
      maxBindingSize: 2 ** 27,
      maxStorageBuffers: device.limits.maxStorageBuffersPerShaderStage,
      subgroupSize: 0,
      f16: false,
    });
    await expectQuarters(engine);
    engine.close();
    device.destroy();
  });

  it('leaves the device open, and gives back all memory that it took', async () => {
    const device = await (await adapterOfOnesOwn()).requestDevice();
    const made = vi.spyOn(device, 'createBuffer');
    const engine = await createEngine({ adapter: device });
    const kept = engine.ones([1000]).keep();
    const download = engine.staging.openDownload(256, { take: () => undefined, fail: () => undefined });
    await expectQuarters(engine);
    const pending = kept.read();
    await engine.idle();
    const taken = made.mock.results.map(({ value }) => value as GPUBuffer);
    expect(taken).toContain(download.buffer);
    expect(taken.length).toBeGreaterThan(4);
    expect(await isAlive(device, taken[0])).toBe(true);
    await pending;
    const unread = kept.read();
    engine.close();
    await expect(unread).rejects.toThrow(/engine-closed/);
    for (const buffer of taken) expect(await isAlive(device, buffer)).toBe(false);

    made.mockRestore();
    const own = device.createBuffer({ size: 4, usage: MAP });
    expect(await isAlive(device, own)).toBe(true);
    // Another engine may have it now.
    const next = await createEngine({ adapter: device });
    await expectQuarters(next);
    next.close();
    device.destroy();
  });

  it("leaves the owner's errors to the owner", async () => {
    const device = await (await adapterOfOnesOwn()).requestDevice();
    const told = vi.fn((event: GPUUncapturedErrorEvent) => event.preventDefault());
    device.onuncapturederror = told;
    const engine = await createEngine({ adapter: device });
    device.createBuffer({ size: 4, usage: 0 });
    await vi.waitFor(() => expect(told).toHaveBeenCalledOnce());
    await expectQuarters(engine);
    engine.close();
    expect(device.onuncapturederror).toBe(told);
    device.destroy();
  });

  it('serves two engines on one device', async () => {
    const device = await (await adapterOfOnesOwn()).requestDevice();
    const [first, second] = [await createEngine({ adapter: device }), await createEngine({ adapter: device })];
    await Promise.all([expectQuarters(first), expectQuarters(second)]);
    first.close();
    await expectQuarters(second);
    second.close();
    device.destroy();
  });

  it('tells of the loss of the device, before and after', async () => {
    const device = await (await adapterOfOnesOwn()).requestDevice();
    const engine = await createEngine({ adapter: device });
    device.destroy();
    expect(await engine.deviceLoss()).toMatchObject({ code: 'device-lost' });
    expect(() => engine.zeros([2])).toThrow(/device-lost/);
    engine.close();
    await expect(createEngine({ adapter: device })).rejects.toThrow(/device-lost[\s\S]*destroyed[\s\S]*new adapter/);
  });

  it('ends a program that does not listen to a read, unless that has closed the engine', async () => {
    for (const [isClosed, expected] of [
      [false, [expect.objectContaining({ code: 'device-lost' })]],
      [true, []],
    ] as const) {
      const device = await (await adapterOfOnesOwn()).requestDevice();
      const engine = await createEngine({ adapter: device });
      const found = await unhandled(async () => {
        void engine.zeros([2]).read();
        if (isClosed) engine.close();
        device.destroy();
        await device.lost;
        if (!isClosed) await engine.deviceLoss();
      });
      expect(found).toEqual(expected);
      engine.close();
    }
  });

  it('refuses a device with less than WebGPU guarantees, and names what is short', async () => {
    const device = await (await adapterOfOnesOwn({ featureLevel: 'compatibility' })).requestDevice();
    expect(device.limits.maxComputeInvocationsPerWorkgroup).toBe(128);
    await expect(createEngine({ adapter: device })).rejects.toThrow(
      /limit-exceeded[\s\S]*maxComputeInvocationsPerWorkgroup of at least 256[\s\S]*128[\s\S]*requiredLimits/,
    );
    device.destroy();
  });

  it.each([
    [null, /bad-argument[\s\S]*GPUAdapter or a GPUDevice[\s\S]*null, which requestAdapter\(\) resolves to/],
    [{}, /bad-argument[\s\S]*GPUAdapter or a GPUDevice/],
  ])('refuses %j', async (adapter, message) => {
    await expect(createEngine({ adapter: adapter as unknown as GPUDevice })).rejects.toThrow(message);
  });
});
