// A yardstick, no library: one matmul kernel written by hand, each invocation owning 8 rows by 2 vec4 columns, and no
// workgroup memory. Its rate tells how fast the machine is at the moment.
import { counters } from './gpu.mjs';

const ROWS = 8;
const VECTORS = 2;
const LANES = 8;
let device;

export async function init() {
  const adapter = await navigator.gpu.requestAdapter();
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  device = await adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
  return { name: 'hand-written WGSL', version: null, adapter: adapter.info.description, counters };
}

function upload(data) {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

function kernel(M, N, K) {
  const rows = Array.from({ length: ROWS }, (_, i) => i);
  const vectors = Array.from({ length: VECTORS }, (_, j) => j);
  const tile = (line) => rows.flatMap((i) => vectors.map((j) => line(i, j))).join('\n');
  return /* wgsl */ `
    @group(0) @binding(0) var<storage, read> a: array<f32>;
    @group(0) @binding(1) var<storage, read> b: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
    @compute @workgroup_size(${LANES})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
      let column = (group.x * ${LANES}u + lane.x) * ${VECTORS}u;
      let row = group.y * ${ROWS}u;
      let aStart = group.z * ${M * K}u;
      let bStart = group.z * ${(K * N) / 4}u;
      let cStart = group.z * ${(M * N) / 4}u;
      ${tile((i, j) => `var c${i}_${j} = vec4f(0);`)}
      for (var k = 0u; k < ${K}u; k++) {
        ${vectors.map((j) => `let b${j} = b[bStart + k * ${N / 4}u + column + ${j}u];`).join('\n')}
        ${rows.map((i) => `let a${i} = a[aStart + (row + ${i}u) * ${K}u + k];`).join('\n')}
        ${tile((i, j) => `c${i}_${j} = fma(vec4f(a${i}), b${j}, c${i}_${j});`)}
      }
      ${tile((i, j) => `c[cStart + (row + ${i}u) * ${N / 4}u + column + ${j}u] = c${i}_${j};`)}
    }`;
}

export const ops = {
  matmul({ a, b, M, N, K, B, tB }) {
    const tileColumns = LANES * VECTORS * 4;
    if (tB || N % tileColumns || M % ROWS) throw new Error(`only for N % ${tileColumns} == 0 and M % ${ROWS} == 0`);
    const inputs = [upload(a), upload(b)];
    const module = device.createShaderModule({ code: kernel(M, N, K) });
    const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
    return () => {
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
      const c = device.createBuffer({ size: B * M * N * 4, usage });
      const entries = [...inputs, c].map((buffer, binding) => ({ binding, resource: { buffer } }));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(N / tileColumns, M / ROWS, B);
      pass.end();
      device.queue.submit([encoder.finish()]);
      return c;
    };
  },
};

export async function read(handle, bytes = handle.size) {
  const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(handle, 0, staging, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const content = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return content;
}
export const scalar = async (handle) => (await read(handle, 4))[0];
export const free = (handle) => handle.destroy();
