// deit-webgpu as one of the libraries of a side-by-side comparison: `ADAPTER=bench/peers/adapter.mjs node run.mjs` in the
// folder of the comparison, after `npm run build` here. The comparison's gpu.mjs installs navigator.gpu and counts its calls.
import { pathToFileURL } from 'node:url';
import { dirname, join } from 'node:path';
import { readFileSync } from 'node:fs';

const { counters } = await import(pathToFileURL(join(dirname(process.argv[1]), 'gpu.mjs')).href);
const engineModule = await import('../../dist/engine/node.js');
const { createEngine, gelu, layerNorm, matmul, patchEmbed, permute, softmax, cat, add, mul, crossEntropy } =
  engineModule;
const { AdamW } = await import('../../dist/nn/index.js');
const { VisionTransformer } = await import('../../dist/deit/models/deit.js');

let engine;

export async function init() {
  engine = await createEngine();
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return { name: 'deit-webgpu', version, adapter: engine.adapter.name, counters };
}

const upload = (data, shape, dtype = 'f32') => engine.tensor(data, shape, dtype).keep('input');

/** Records `work` once and replays it ever after; its result is kept and read from there. */
function recorded(work) {
  let result;
  const record = () => engine.record(() => engine.noGrad(() => (result = work().keep('result'))));
  let recording;
  return () => {
    if (recording) engine.replay(recording);
    else recording = record();
    return result;
  };
}

/** The comparison's names and [in, out] weights as timm's names and [out, in]. */
function timmState(params) {
  const state = new Map();
  const names = {
    'patch.w': 'patch_embed.proj.weight',
    'patch.b': 'patch_embed.proj.bias',
    cls: 'cls_token',
    dist: 'dist_token',
    pos: 'pos_embed',
  };
  const parts = {
    n1: 'norm1',
    n2: 'norm2',
    qkv: 'attn.qkv',
    proj: 'attn.proj',
    fc1: 'mlp.fc1',
    fc2: 'mlp.fc2',
    norm: 'norm',
    head: 'head',
    hd: 'head_dist',
  };
  for (const [name, { shape, data }] of Object.entries(params)) {
    const match = /^(?:b(\d+)\.)?(\w+)\.([wgb])$/.exec(name);
    const own =
      names[name] ??
      `${match[1] === undefined ? '' : `blocks.${match[1]}.`}${parts[match[2]]}.${match[3] === 'b' ? 'bias' : 'weight'}`;
    const isLinear = shape.length === 2;
    state.set(own, isLinear ? { shape: [shape[1], shape[0]], data: transposed(data, shape) } : { shape, data });
  }
  return state;
}

function transposed(data, [rows, columns]) {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j];
  return out;
}

function model({ params, S, P, D, L, H, classes }) {
  const vit = new VisionTransformer(engine, {
    imageSize: S,
    patchSize: P,
    width: D,
    depth: L,
    heads: H,
    classes,
    distilled: true,
  });
  vit.loadStateDict(timmState(params));
  return vit;
}

export const ops = {
  matmul({ a, b, M, N, K, B, tB }) {
    const x = upload(a, [B, M, K]);
    const y = upload(b, tB ? [B, N, K] : [B, K, N]);
    return recorded(() => matmul(x, y, { transposeB: tB }));
  },
  softmax({ x, R, C }) {
    const input = upload(x, [R, C]);
    return recorded(() => softmax(input));
  },
  layernorm({ x, g, b, R, C }) {
    const [input, weight, bias] = [upload(x, [R, C]), upload(g, [C]), upload(b, [C])];
    return recorded(() => layerNorm(input, weight, bias, 1e-6));
  },
  gelu({ x, R, C }) {
    const input = upload(x, [R, C]);
    return recorded(() => gelu(input));
  },
  patchconv({ x, w, b, B, I, S, P, O }) {
    const [image, weight, bias] = [upload(x, [B, I, S, S]), upload(w, [O, I, P, P]), upload(b, [O])];
    return recorded(() => permute(patchEmbed(image, weight, bias), [0, 2, 1]));
  },
  deit(work) {
    const vit = model(work).eval();
    const images = upload(work.x, [work.B, 3, work.S, work.S]);
    return recorded(() => {
      const { cls, dist } = vit.heads(images);
      return cat([cls, dist], 1);
    });
  },
  train(work) {
    const vit = model(work).train();
    const images = upload(work.x, [work.B, 3, work.S, work.S]);
    const labels = upload(work.y, [work.B], 'i32');
    // Adam is AdamW without decay.
    const optimizer = new AdamW([{ parameters: vit.namedParameters(), weightDecay: 0 }]);
    let loss;
    const step = () => {
      optimizer.zeroGrad();
      const { cls, dist } = vit.heads(images);
      loss = mul(add(crossEntropy(cls, labels), crossEntropy(dist, labels)), 0.5);
      loss.backward();
      optimizer.step();
      loss = loss.detach().keep('result');
    };
    let recording;
    return () => {
      optimizer.prepareStep(work.lr);
      if (recording) engine.replay(recording);
      else recording = engine.record(step);
      return loss;
    };
  },
};

export const read = (handle) => handle.read();
export const scalar = async (handle) => (await handle.slot(0, 1).read())[0];
export const free = () => {};
