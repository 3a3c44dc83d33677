// Dawn (npm `webgpu`, the version of this project) as navigator.gpu for every library alike, with its calls counted.
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
// What create() returns must stay referenced, or the process aborts.
globalThis.dawnInstance = create([]);

/** Calls since the start, and bytes of GPU buffers created and not destroyed (those left to the collector count on). */
export const counters = { dispatch: 0, submit: 0, pipeline: 0, bytes: 0, maxBytes: 0 };

sleepBetweenPolls();
Object.defineProperty(globalThis, 'navigator', {
  configurable: true,
  writable: true,
  value: {
    gpu: globalThis.dawnInstance,
    userAgent: 'node',
    platform: 'linux',
    language: 'en',
    hardwareConcurrency: 2,
  },
});
countCalls();
countBytes();
acceptSharedMemory();

/**
 * While a promise is pending, Dawn's bindings poll by setImmediate in a tight loop, which takes a whole core from a
 * software adapter. Every library gets the same relief: 0.1 ms of sleep a poll once 20 have passed.
 */
function sleepBetweenPolls() {
  const original = globalThis.setImmediate;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let polls = 0;
  let queued = false;
  globalThis.setImmediate = (callback, ...args) => {
    queued = true;
    return original(() => {
      queued = false;
      if (polls++ > 20) Atomics.wait(cell, 0, 0, 0.1);
      callback(...args);
      if (!queued) polls = 0;
    });
  };
}

function before(owner, method, hook) {
  const original = owner.prototype[method];
  owner.prototype[method] = function (...args) {
    hook(this);
    return original.apply(this, args);
  };
}

function countCalls() {
  before(GPUComputePassEncoder, 'dispatchWorkgroups', () => counters.dispatch++);
  before(GPUQueue, 'submit', () => counters.submit++);
  before(GPUDevice, 'createComputePipeline', () => counters.pipeline++);
  before(GPUDevice, 'createComputePipelineAsync', () => counters.pipeline++);
}

function countBytes() {
  const live = new Map();
  const { createBuffer } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    live.set(buffer, descriptor.size);
    counters.bytes += descriptor.size;
    counters.maxBytes = Math.max(counters.maxBytes, counters.bytes);
    return buffer;
  };
  before(GPUBuffer, 'destroy', (buffer) => {
    counters.bytes -= live.get(buffer) ?? 0;
    live.delete(buffer);
  });
}

/** Browsers take shared memory as the source of writeBuffer, Dawn in Node does not, and onnxruntime-web needs it: copy. */
function acceptSharedMemory() {
  const { writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.writeBuffer = function (buffer, offset, data, dataOffset = 0, size = undefined) {
    const isView = ArrayBuffer.isView(data);
    const memory = isView ? data.buffer : data;
    const rest = size === undefined ? [] : [size];
    if (!(memory instanceof SharedArrayBuffer))
      return writeBuffer.call(this, buffer, offset, data, dataOffset, ...rest);
    const unit = isView ? data.BYTES_PER_ELEMENT : 1;
    const start = (isView ? data.byteOffset : 0) + dataOffset * unit;
    const length = size === undefined ? data.byteLength - dataOffset * unit : size * unit;
    const copy = new Uint8Array(length);
    copy.set(new Uint8Array(memory, start, length));
    return writeBuffer.call(this, buffer, offset, copy);
  };
}
