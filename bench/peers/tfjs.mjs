// TensorFlow.js with its WebGPU backend.
import { counters } from './gpu.mjs';

let tf;

export async function init() {
  // The union package: it registers chained operations and gradients.
  tf = (await import('@tensorflow/tfjs')).default;
  await import('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new Error('the backend webgpu did not start');
  await tf.ready();
  const adapter = (await navigator.gpu.requestAdapter()).info.description;
  return { name: 'tfjs webgpu', version: tf.version.tfjs ?? tf.version, adapter, counters };
}

const upload = (data, shape) => tf.tensor(data, shape, 'float32');
const gelu = (x) => tf.tidy(() => x.mul(0.5).mul(tf.erf(x.mul(Math.SQRT1_2)).add(1)));
const layerNorm = (x, g, b) =>
  tf.tidy(() => {
    const { mean, variance } = tf.moments(x, -1, true);
    return x
      .sub(mean)
      .mul(tf.rsqrt(variance.add(1e-6)))
      .mul(g)
      .add(b);
  });
/** The result is channels-last. */
const convolution = (x, w, b, P) =>
  tf.tidy(() => tf.conv2d(x.transpose([0, 2, 3, 1]), w.transpose([2, 3, 1, 0]), P, 'valid').add(b));
const linear = (x, w, b) =>
  tf.tidy(() => {
    const { shape } = x;
    const product = tf.fused.matMul({ a: x.reshape([-1, shape.at(-1)]), b: w, bias: b });
    return product.reshape([...shape.slice(0, -1), w.shape[1]]);
  });

const forward = (params, x, { B, N, D, L, H, hd, P }) =>
  tf.tidy(() => {
    const patches = convolution(x, params['patch.w'], params['patch.b'], P).reshape([B, N - 2, D]);
    const extra = [params.cls, params.dist].map((token) => tf.tile(token, [B, 1, 1]));
    let tokens = tf.concat([...extra, patches], 1).add(params.pos);
    for (let i = 0; i < L; i++) {
      const own = (name) => params[`b${i}.${name}`];
      const fused = linear(layerNorm(tokens, own('n1.g'), own('n1.b')), own('qkv.w'), own('qkv.b'));
      const [q, k, v] = tf.split(fused.reshape([B, N, 3 * H, hd]).transpose([0, 2, 1, 3]), 3, 1);
      const weights = tf.softmax(tf.matMul(q, k, false, true).mul(hd ** -0.5));
      const mixed = tf.matMul(weights, v).transpose([0, 2, 1, 3]).reshape([B, N, D]);
      tokens = tokens.add(linear(mixed, own('proj.w'), own('proj.b')));
      const hidden = gelu(linear(layerNorm(tokens, own('n2.g'), own('n2.b')), own('fc1.w'), own('fc1.b')));
      tokens = tokens.add(linear(hidden, own('fc2.w'), own('fc2.b')));
    }
    tokens = layerNorm(tokens, params['norm.g'], params['norm.b']);
    const head = (token, name) =>
      linear(tokens.slice([0, token, 0], [B, 1, D]).reshape([B, D]), params[`${name}.w`], params[`${name}.b`]);
    return [head(0, 'head'), head(1, 'hd')];
  });

export const ops = {
  matmul({ a, b, M, N, K, B, tB }) {
    const batch = B > 1 ? [B] : [];
    const [x, y] = [upload(a, [...batch, M, K]), upload(b, [...batch, ...(tB ? [N, K] : [K, N])])];
    return () => tf.matMul(x, y, false, tB);
  },
  softmax({ x, R, C }) {
    const input = upload(x, [R, C]);
    return () => tf.softmax(input);
  },
  layernorm({ x, g, b, R, C }) {
    const [input, weight, bias] = [upload(x, [R, C]), upload(g, [C]), upload(b, [C])];
    return () => layerNorm(input, weight, bias);
  },
  gelu({ x, R, C }) {
    const input = upload(x, [R, C]);
    return () => gelu(input);
  },
  patchconv({ x, w, b, B, I, S, P, O }) {
    const [image, weight, bias] = [upload(x, [B, I, S, S]), upload(w, [O, I, P, P]), upload(b, [O])];
    return () => tf.tidy(() => convolution(image, weight, bias, P).transpose([0, 3, 1, 2]));
  },
  deit(work) {
    const params = Object.fromEntries(
      Object.entries(work.params).map(([name, { data, shape }]) => [name, upload(data, shape)]),
    );
    const images = upload(work.x, [work.B, 3, work.S, work.S]);
    return () => tf.tidy(() => tf.concat(forward(params, images, work), 1));
  },
  train(work) {
    const params = Object.fromEntries(
      Object.entries(work.params).map(([name, { data, shape }]) => [
        name,
        tf.variable(upload(data, shape), true, name),
      ]),
    );
    const images = upload(work.x, [work.B, 3, work.S, work.S]);
    const labels = tf.oneHot(tf.tensor1d(work.y, 'int32'), work.classes).toFloat();
    const optimizer = tf.train.adam(work.lr, 0.9, 0.999, 1e-8);
    const crossEntropy = (logits) => tf.logSoftmax(logits).mul(labels).sum(-1).mean().mul(-0.5);
    const loss = () => {
      const [cls, dist] = forward(params, images, work);
      return crossEntropy(cls).add(crossEntropy(dist));
    };
    return () => tf.tidy(() => optimizer.minimize(loss, true, Object.values(params)));
  },
};

export const read = (handle) => handle.data();
export async function scalar(handle) {
  const first = tf.tidy(() => handle.reshape([-1]).slice([0], [1]));
  const [value] = await first.data();
  first.dispose();
  return value;
}
export const free = (handle) => handle.dispose();
export const endCase = () => tf.disposeVariables();
