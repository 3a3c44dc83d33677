// The work of the comparison: seeded inputs, counts of arithmetic, and element i of each result in float64.
// Nothing here depends on any library.

/** mulberry32 */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function uniform(n, seed, range = 1) {
  const random = generator(seed);
  return Float32Array.from({ length: n }, () => (random() * 2 - 1) * range);
}

/** To about 1e-15: a series for small arguments, a continued fraction for large ones. */
function erf(x) {
  const a = Math.abs(x);
  let result;
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    result = (2 / Math.sqrt(Math.PI)) * sum;
  } else {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
    result = 1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction);
  }
  return x < 0 ? -result : result;
}

export const geluOf = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

/** a [B,M,K] times b [B,K,N], or [B,N,K] where `tB`. */
function matmul(M, K, N, B = 1, tB = false) {
  const a = uniform(B * M * K, 1);
  const b = uniform(B * K * N, 2);
  const ref = (i) => {
    const n = i % N;
    const m = Math.floor(i / N) % M;
    const batch = Math.floor(i / (M * N));
    let sum = 0;
    for (let k = 0; k < K; k++) {
      sum += a[(batch * M + m) * K + k] * (tB ? b[(batch * N + n) * K + k] : b[(batch * K + k) * N + n]);
    }
    return sum;
  };
  return { op: 'matmul', M, K, N, B, tB, a, b, size: B * M * N, flop: 2 * B * M * N * K, ref };
}

function softmax(R, C) {
  const x = uniform(R * C, 3, 4);
  const ref = (i) => {
    const row = x.subarray(Math.floor(i / C) * C, (Math.floor(i / C) + 1) * C);
    const max = row.reduce((a, b) => Math.max(a, b));
    return Math.exp(x[i] - max) / row.reduce((sum, v) => sum + Math.exp(v - max), 0);
  };
  return { op: 'softmax', R, C, x, size: R * C, ref };
}

function layerNorm(R, C) {
  const [x, g, b] = [uniform(R * C, 4, 2), uniform(C, 5), uniform(C, 6)];
  const ref = (i) => {
    const row = x.subarray(Math.floor(i / C) * C, (Math.floor(i / C) + 1) * C);
    const mean = row.reduce((sum, v) => sum + v, 0) / C;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / C;
    return ((x[i] - mean) / Math.sqrt(variance + 1e-6)) * g[i % C] + b[i % C];
  };
  return { op: 'layernorm', R, C, x, g, b, size: R * C, ref };
}

function gelu(R, C) {
  const x = uniform(R * C, 7, 4);
  return { op: 'gelu', R, C, x, size: R * C, ref: (i) => geluOf(x[i]) };
}

/** A convolution whose stride is its kernel size: x [B,I,S,S], w [O,I,P,P] -> [B,O,S/P,S/P]. */
function patchConvolution(B, I, S, P, O) {
  const G = S / P;
  const [x, w, b] = [uniform(B * I * S * S, 8), uniform(O * I * P * P, 9, 0.1), uniform(O, 10)];
  const ref = (i) => {
    const [column, row] = [i % G, Math.floor(i / G) % G];
    const [o, image] = [Math.floor(i / G / G) % O, Math.floor(i / G / G / O)];
    let sum = b[o];
    for (let c = 0; c < I; c++) {
      for (let y = 0; y < P; y++) {
        for (let z = 0; z < P; z++) {
          sum += x[((image * I + c) * S + row * P + y) * S + column * P + z] * w[((o * I + c) * P + y) * P + z];
        }
      }
    }
    return sum;
  };
  const size = B * O * G * G;
  return { op: 'patchconv', B, I, S, P, O, x, w, b, size, flop: 2 * size * I * P * P, ref };
}

/**
 * A distilled DeiT of width D, depth L, H heads on S-pixel images in patches of P, classifying into `classes`. Linear
 * weights are [in, out], the convolution's [out, in, P, P]. The result is [B, 2 * classes]: both heads side by side.
 */
function deit(S, P, classes, B, D = 192, L = 12, H = 3) {
  const N = (S / P) ** 2 + 2;
  const params = {};
  let seed = 100;
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const random = (name, shape, range) => {
    params[name] = { shape, data: uniform(size(shape), seed++, range) };
  };
  const constant = (name, shape, value) => {
    params[name] = { shape, data: new Float32Array(size(shape)).fill(value) };
  };
  const linear = (name, from, to, range) => {
    random(`${name}.w`, [from, to], range);
    random(`${name}.b`, [to], 0.02);
  };
  const norm = (name) => {
    constant(`${name}.g`, [D], 1);
    constant(`${name}.b`, [D], 0);
  };
  random('patch.w', [D, 3, P, P], 0.05);
  random('patch.b', [D], 0.05);
  random('cls', [1, 1, D], 0.05);
  random('dist', [1, 1, D], 0.05);
  random('pos', [1, N, D], 0.05);
  for (let i = 0; i < L; i++) {
    norm(`b${i}.n1`);
    linear(`b${i}.qkv`, D, 3 * D, 0.08);
    linear(`b${i}.proj`, D, D, 0.08);
    norm(`b${i}.n2`);
    linear(`b${i}.fc1`, D, 4 * D, 0.08);
    linear(`b${i}.fc2`, 4 * D, D, 0.04);
  }
  norm('norm');
  linear('head', D, classes, 0.08);
  linear('hd', D, classes, 0.08);
  const x = uniform(B * 3 * S * S, 11, 1.5);
  const y = Int32Array.from(uniform(B, 12, classes / 2), (v) =>
    Math.min(classes - 1, Math.max(0, Math.trunc(v + classes / 2))),
  );
  const flop = B * (2 * (N - 2) * D * 3 * P * P + L * N * (2 * 12 * D * D + 4 * N * D) + 4 * D * classes);
  return { op: 'deit', S, P, classes, B, D, L, H, N, hd: D / H, params, x, y, size: B * 2 * classes, flop };
}

const training = (work) => ({ ...work, op: 'train', lr: 1e-3, size: 1, flop: 3 * work.flop });
const withoutFlop = (work) => ({ ...work, flop: 0 });

export const cases = {
  'matmul 1024^3': () => matmul(1024, 1024, 1024),
  'fc1 1576x192x768': () => matmul(1576, 192, 768),
  'fc2 1576x768x192': () => matmul(1576, 768, 192),
  'qkv 1576x192x576': () => matmul(1576, 192, 576),
  'QK^T 24x197x64x197': () => matmul(197, 64, 197, 24, true),
  'softmax 4728x197': () => softmax(24 * 197, 197),
  'layernorm 1576x192': () => layerNorm(1576, 192),
  'gelu 1576x768': () => gelu(1576, 768),
  'patchconv 8x3x224->192': () => patchConvolution(8, 3, 224, 16, 192),
  'DeiT-Ti fwd b1': () => deit(224, 16, 1000, 1),
  'DeiT-Ti fwd b8': () => deit(224, 16, 1000, 8),
  'train step b16': () => training(deit(32, 4, 10, 16)),
  'matmul 1023^3': () => matmul(1023, 1023, 1023),
  'DeiT-Ti 384 fwd b1': () => deit(384, 16, 1000, 1),
  'DeiT-S fwd b4': () => deit(224, 16, 1000, 4, 384, 12, 6),
  // The same 12 layers with next to no arithmetic: what is left is the host's work and the cost of a dispatch.
  'tiny fwd': () => withoutFlop(deit(8, 4, 10, 1, 12)),
  'tiny train': () => withoutFlop(training(deit(8, 4, 10, 1, 12))),
};
