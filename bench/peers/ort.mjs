// ONNX Runtime, forward only. Variants: `web-webgpu` (onnxruntime-web, its C++ WebGPU provider), `web-jsep` (its older
// WebGPU kernels), `web-wasm`, and `node-cpu` (onnxruntime-node). Weights are constants of the graph.
import { Graph } from './onnx.mjs';

const WEB_FILES = {
  'web-webgpu': 'ort.webgpu.bundle.min.mjs',
  'web-jsep': 'ort.all.min.mjs',
  'web-wasm': 'ort.node.min.mjs',
};
const PROVIDERS = { 'web-webgpu': 'webgpu', 'web-jsep': 'webgpu', 'web-wasm': 'wasm', 'node-cpu': 'cpu' };
let ort;
let provider;
let onGpu;
let device;
let open = null;

export async function init(variant) {
  provider = PROVIDERS[variant];
  onGpu = provider === 'webgpu';
  let counters;
  let adapter = 'cpu';
  if (onGpu) {
    ({ counters } = await import('./gpu.mjs'));
    adapter = (await navigator.gpu.requestAdapter()).info.description;
  }
  if (provider === 'cpu') ort = (await import('onnxruntime-node')).default;
  else {
    ort = await import(new URL(`node_modules/onnxruntime-web/dist/${WEB_FILES[variant]}`, import.meta.url));
    ort.env.wasm.numThreads = provider === 'wasm' ? 2 : 1;
    ort.env.logLevel = 'error';
  }
  return { name: `onnxruntime ${variant}`, version: ort.env.versions.common, adapter, counters };
}

function inputTensor(data, shape) {
  if (!onGpu) return new ort.Tensor('float32', data, shape);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: shape });
}

/** Ends the graph with `result`, and returns what runs it on `inputs`, a map of names to `[data, shape]`. */
async function session(graph, result, shape, inputs) {
  graph.output(result, 'y', shape);
  const created = await ort.InferenceSession.create(new Uint8Array(graph.build()), {
    executionProviders: [provider],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    ...(onGpu ? { preferredOutputLocation: 'gpu-buffer' } : {}),
  });
  if (onGpu) device = await ort.env.webgpu.device;
  open = created;
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, [data, size]]) => [name, inputTensor(data, size)]),
  );
  return async () => (await created.run(feeds)).y;
}

const weight = (graph, { shape, data }) => graph.constant(shape, data);
const linear = (graph, x, w, b) => graph.op('Add', [graph.op('MatMul', [x, weight(graph, w)]), weight(graph, b)]);
const layerNorm = (graph, x, g, b) =>
  graph.op('LayerNormalization', [x, weight(graph, g), weight(graph, b)], { axis: -1, epsilon: { float: 1e-6 } });
const gelu = (graph, x) => (onGpu ? graph.op('Gelu', [x], {}, 1, 'com.microsoft') : graph.op('Gelu', [x]));
const convolution = (graph, x, w, b, P) =>
  graph.op('Conv', [x, weight(graph, w), weight(graph, b)], { strides: [P, P], kernel_shape: [P, P] });
const transpose = (graph, x, ...perm) => graph.op('Transpose', [x], { perm });
const reshape = (graph, x, ...shape) => graph.op('Reshape', [x, graph.integers(...shape)]);

/** A graph of one operation on one input x. */
async function single(data, inShape, outShape, operation) {
  const graph = new Graph();
  return session(graph, operation(graph, graph.input('x', inShape)), outShape, { x: [data, inShape] });
}

function attention(graph, qkv, { B, N, D, H, hd }) {
  const split = transpose(graph, reshape(graph, qkv, B, N, 3, H, hd), 2, 0, 3, 1, 4);
  const parts = graph.op('Split', [split, graph.integers(1, 1, 1)], { axis: 0 }, 3);
  const [q, k, v] = parts.map((part) => graph.op('Squeeze', [part, graph.integers(0)]));
  const scale = graph.constant([], Float32Array.of(hd ** -0.5));
  const scores = graph.op('Mul', [graph.op('MatMul', [q, transpose(graph, k, 0, 1, 3, 2)]), scale]);
  const mixed = graph.op('MatMul', [graph.op('Softmax', [scores], { axis: -1 }), v]);
  return reshape(graph, transpose(graph, mixed, 0, 2, 1, 3), B, N, D);
}

export const ops = {
  matmul({ a, b, M, N, K, B, tB }) {
    const graph = new Graph();
    const batch = B > 1 ? [B] : [];
    const [aShape, bShape] = [
      [...batch, M, K],
      [...batch, ...(tB ? [N, K] : [K, N])],
    ];
    const inputs = { x: [a, aShape] };
    graph.input('x', aShape);
    let right;
    if (tB) {
      inputs.k = [b, bShape];
      right = transpose(graph, graph.input('k', bShape), 0, 2, 1);
    } else right = graph.constant(bShape, b);
    return session(graph, graph.op('MatMul', ['x', right]), [...batch, M, N], inputs);
  },
  softmax: ({ x, R, C }) => single(x, [R, C], [R, C], (graph, input) => graph.op('Softmax', [input], { axis: -1 })),
  layernorm: ({ x, g, b, R, C }) =>
    single(x, [R, C], [R, C], (graph, input) =>
      layerNorm(graph, input, { shape: [C], data: g }, { shape: [C], data: b }),
    ),
  gelu: ({ x, R, C }) => single(x, [R, C], [R, C], gelu),
  patchconv: ({ x, w, b, B, I, S, P, O }) =>
    single(x, [B, I, S, S], [B, O, S / P, S / P], (graph, input) =>
      convolution(graph, input, { shape: [O, I, P, P], data: w }, { shape: [O], data: b }, P),
    ),
  deit(work) {
    const { S, P, B, D, L, N, classes, params } = work;
    return single(work.x, [B, 3, S, S], [B, 2 * classes], (graph, images) => {
      const repeated = (name) => {
        const data = Float32Array.from({ length: B * D }, (_, i) => params[name].data[i % D]);
        return graph.constant([B, 1, D], data);
      };
      const conv = convolution(graph, images, params['patch.w'], params['patch.b'], P);
      const patches = transpose(graph, reshape(graph, conv, B, D, N - 2), 0, 2, 1);
      const joined = graph.op('Concat', [repeated('cls'), repeated('dist'), patches], { axis: 1 });
      let tokens = graph.op('Add', [joined, weight(graph, params.pos)]);
      for (let i = 0; i < L; i++) {
        const own = (name) => params[`b${i}.${name}`];
        const normed = layerNorm(graph, tokens, own('n1.g'), own('n1.b'));
        const mixed = attention(graph, linear(graph, normed, own('qkv.w'), own('qkv.b')), work);
        tokens = graph.op('Add', [tokens, linear(graph, mixed, own('proj.w'), own('proj.b'))]);
        const second = layerNorm(graph, tokens, own('n2.g'), own('n2.b'));
        const hidden = gelu(graph, linear(graph, second, own('fc1.w'), own('fc1.b')));
        tokens = graph.op('Add', [tokens, linear(graph, hidden, own('fc2.w'), own('fc2.b'))]);
      }
      tokens = layerNorm(graph, tokens, params['norm.g'], params['norm.b']);
      const head = (token, name) => {
        const bounds = [token, token + 1, 1].map((i) => graph.integers(i));
        const picked = reshape(graph, graph.op('Slice', [tokens, ...bounds]), B, D);
        return linear(graph, picked, params[`${name}.w`], params[`${name}.b`]);
      };
      return graph.op('Concat', [head(0, 'head'), head(1, 'hd')], { axis: 1 });
    });
  },
};

export const read = (handle) => (onGpu ? handle.getData() : handle.data);

export async function scalar(handle) {
  if (!onGpu) return handle.data[0];
  const staging = device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(handle.gpuBuffer, 0, staging, 0, 4);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const [value] = new Float32Array(staging.getMappedRange());
  staging.destroy();
  return value;
}
export const free = (handle) => handle.dispose();
export async function endCase() {
  await open?.release();
  open = null;
}
