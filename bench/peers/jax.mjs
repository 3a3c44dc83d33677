// jax-js, variant `webgpu` or `wasm`. Everything is under jit(), as it recommends. Use consumes an array; .ref keeps it.
import { readFileSync } from 'node:fs';

let jax;
let np;
let nn;

export async function init(variant) {
  let counters;
  let adapter = variant;
  if (variant === 'webgpu') {
    ({ counters } = await import('./gpu.mjs'));
    adapter = (await navigator.gpu.requestAdapter()).info.description;
  }
  jax = await import('@jax-js/jax');
  ({ numpy: np, nn } = jax);
  if (!(await jax.init(variant)).includes(variant)) throw new Error(`the backend ${variant} did not start`);
  jax.defaultDevice(variant);
  const manifest = new URL('node_modules/@jax-js/jax/package.json', import.meta.url);
  return { name: `jax-js ${variant}`, version: JSON.parse(readFileSync(manifest, 'utf8')).version, adapter, counters };
}

const upload = (data, shape) => np.array(data).reshape(shape);
const gelu = (x) => nn.gelu(x, { approximate: false });
const layerNorm = (x, g, b) => nn.standardize(x, -1, { epsilon: 1e-6 }).mul(g).add(b);
const linear = (x, w, b) => np.matmul(x, w).add(b);
const convolution = (x, w, b, P) => jax.lax.conv(x, w, [P, P], 'VALID').add(b.reshape([-1, 1, 1]));

const uploadAll = (params) =>
  Object.fromEntries(Object.entries(params).map(([name, { data, shape }]) => [name, upload(data, shape)]));

/** Consumes x, borrows the parameters. */
function forward(params, x, { B, N, D, L, H, hd, P }) {
  const top = (name) => params[name].ref;
  const patches = convolution(x, top('patch.w'), top('patch.b'), P).reshape([B, D, N - 2]);
  const extra = ['cls', 'dist'].map((name) => np.broadcastTo(top(name), [B, 1, D]));
  let tokens = np.concatenate([...extra, np.transpose(patches, [0, 2, 1])], 1).add(top('pos'));
  for (let i = 0; i < L; i++) {
    const own = (name) => top(`b${i}.${name}`);
    const normed = layerNorm(tokens.ref, own('n1.g'), own('n1.b'));
    const fused = linear(normed, own('qkv.w'), own('qkv.b')).reshape([B, N, 3, H, hd]);
    const qkv = np.transpose(fused, [2, 0, 3, 1, 4]);
    const [q, k, v] = [qkv.ref.slice(0), qkv.ref.slice(1), qkv.slice(2)];
    const scores = np.matmul(q, np.transpose(k, [0, 1, 3, 2])).mul(hd ** -0.5);
    const mixed = np.transpose(np.matmul(nn.softmax(scores, -1), v), [0, 2, 1, 3]).reshape([B, N, D]);
    tokens = tokens.add(linear(mixed, own('proj.w'), own('proj.b')));
    const hidden = gelu(linear(layerNorm(tokens.ref, own('n2.g'), own('n2.b')), own('fc1.w'), own('fc1.b')));
    tokens = tokens.add(linear(hidden, own('fc2.w'), own('fc2.b')));
  }
  tokens = layerNorm(tokens, top('norm.g'), top('norm.b'));
  return [
    linear(tokens.ref.slice([], 0), top('head.w'), top('head.b')),
    linear(tokens.slice([], 1), top('hd.w'), top('hd.b')),
  ];
}

export const ops = {
  matmul({ a, b, M, N, K, B, tB }) {
    const batch = B > 1 ? [B] : [];
    const [x, y] = [upload(a, [...batch, M, K]), upload(b, [...batch, ...(tB ? [N, K] : [K, N])])];
    const run = jax.jit((p, q) => np.matmul(p, tB ? np.transpose(q, [0, 2, 1]) : q));
    return () => run(x.ref, y.ref);
  },
  softmax({ x, R, C }) {
    const input = upload(x, [R, C]);
    const run = jax.jit((v) => nn.softmax(v, -1));
    return () => run(input.ref);
  },
  layernorm({ x, g, b, R, C }) {
    const [input, weight, bias] = [upload(x, [R, C]), upload(g, [C]), upload(b, [C])];
    const run = jax.jit(layerNorm);
    return () => run(input.ref, weight.ref, bias.ref);
  },
  gelu({ x, R, C }) {
    const input = upload(x, [R, C]);
    const run = jax.jit(gelu);
    return () => run(input.ref);
  },
  patchconv({ x, w, b, B, I, S, P, O }) {
    const [image, weight, bias] = [upload(x, [B, I, S, S]), upload(w, [O, I, P, P]), upload(b, [O])];
    const run = jax.jit((i, k, c) => convolution(i, k, c, P));
    return () => run(image.ref, weight.ref, bias.ref);
  },
  deit(work) {
    const params = uploadAll(work.params);
    const images = upload(work.x, [work.B, 3, work.S, work.S]);
    const run = jax.jit((p, x) => {
      const both = np.concatenate(forward(p, x, work), 1);
      jax.tree.dispose(p);
      return both;
    });
    return () => run(jax.tree.ref(params), images.ref);
  },
  train(work) {
    const { B, S, classes, lr } = work;
    let params = uploadAll(work.params);
    let m = jax.tree.map((a) => np.zeros(a.shape), params);
    let v = jax.tree.map((a) => np.zeros(a.shape), params);
    let count = 0;
    const images = upload(work.x, [B, 3, S, S]);
    const oneHot = Float32Array.from({ length: B * classes }, (_, i) =>
      Number(work.y[Math.floor(i / classes)] === i % classes),
    );
    const labels = upload(oneHot, [B, classes]);
    const crossEntropy = (logits, y) =>
      nn
        .logSoftmax(logits, -1)
        .mul(y)
        .sum()
        .mul(-0.5 / B);
    const loss = (p, x, y) => {
      const [cls, dist] = forward(p, x, work);
      jax.tree.dispose(p);
      return crossEntropy(cls, y.ref).add(crossEntropy(dist, y));
    };
    // Adam; c1 and c2 are its bias corrections.
    const step = jax.jit((p, m1, v1, x, y, c1, c2) => {
      const [value, gradients] = jax.valueAndGrad(loss)(jax.tree.ref(p), x, y);
      const [p2, m2, v2] = [{}, {}, {}];
      for (const k of Object.keys(p)) {
        m2[k] = m1[k].mul(0.9).add(gradients[k].ref.mul(0.1));
        v2[k] = v1[k].mul(0.999).add(gradients[k].ref.mul(gradients[k]).mul(0.001));
        const divisor = np.sqrt(v2[k].ref.mul(c2.ref)).add(1e-8);
        p2[k] = p[k].sub(m2[k].ref.mul(c1.ref).div(divisor).mul(lr));
      }
      c1.dispose();
      c2.dispose();
      return [value, p2, m2, v2];
    });
    const scalarOf = (value) => np.array([value]).reshape([]);
    return () => {
      count++;
      const [c1, c2] = [1 / (1 - 0.9 ** count), 1 / (1 - 0.999 ** count)];
      const [value, ...next] = step(params, m, v, images.ref, labels.ref, scalarOf(c1), scalarOf(c2));
      [params, m, v] = next;
      return value;
    };
  },
};

export const read = (handle) => handle.ref.data();
export const scalar = async (handle) => (await handle.ref.reshape([-1]).slice([0, 1]).data())[0];
export const free = (handle) => handle.dispose();
