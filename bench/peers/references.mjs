// node references.mjs: writes references.json, float64 logits of image 0 and losses of the first step. About a minute.
import { writeFileSync } from 'node:fs';
import { cases, geluOf } from './cases.mjs';

/** y [R, O] = x [R, I] w [I, O] + b */
function linear(x, R, { w, b }) {
  const [I, O] = w.shape;
  const y = new Float64Array(R * O);
  for (let r = 0; r < R; r++) {
    for (let o = 0; o < O; o++) y[r * O + o] = b.data[o];
    for (let i = 0; i < I; i++) {
      for (let o = 0; o < O; o++) y[r * O + o] += x[r * I + i] * w.data[i * O + o];
    }
  }
  return y;
}

function layerNorm(x, R, { g, b }) {
  const D = g.data.length;
  const y = new Float64Array(R * D);
  for (let r = 0; r < R; r++) {
    const row = x.subarray(r * D, (r + 1) * D);
    const mean = row.reduce((sum, v) => sum + v, 0) / D;
    const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / D + 1e-6);
    for (let i = 0; i < D; i++) y[r * D + i] = (row[i] - mean) * scale * g.data[i] + b.data[i];
  }
  return y;
}

/** qkv [N, 3 * H * hd] -> [N, H * hd] */
function attention(qkv, { N, D, H, hd }) {
  const y = new Float64Array(N * D);
  const at = (token, part, head) => token * 3 * D + part * D + head * hd;
  for (let h = 0; h < H; h++) {
    for (let i = 0; i < N; i++) {
      const scores = Float64Array.from({ length: N }, (_, j) => {
        let dot = 0;
        for (let k = 0; k < hd; k++) dot += qkv[at(i, 0, h) + k] * qkv[at(j, 1, h) + k];
        return dot / Math.sqrt(hd);
      });
      const max = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((s) => Math.exp(s - max));
      const sum = weights.reduce((a, b) => a + b);
      for (let j = 0; j < N; j++) {
        for (let k = 0; k < hd; k++) y[i * D + h * hd + k] += (weights[j] / sum) * qkv[at(j, 2, h) + k];
      }
    }
  }
  return y;
}

/** [patches, D] of one image, with the class and the distillation token in front, and positions added. */
function embed({ S, P, D, N, x, params }, image) {
  const G = S / P;
  const [w, bias] = [params['patch.w'].data, params['patch.b'].data];
  const tokens = new Float64Array(N * D);
  tokens.set(params.cls.data, 0);
  tokens.set(params.dist.data, D);
  for (let t = 0; t < N - 2; t++) {
    const [row, column] = [Math.floor(t / G), t % G];
    for (let o = 0; o < D; o++) {
      let sum = bias[o];
      for (let c = 0; c < 3; c++) {
        for (let y = 0; y < P; y++) {
          for (let z = 0; z < P; z++) {
            sum += x[((image * 3 + c) * S + row * P + y) * S + column * P + z] * w[((o * 3 + c) * P + y) * P + z];
          }
        }
      }
      tokens[(t + 2) * D + o] = sum;
    }
  }
  return tokens.map((v, i) => v + params.pos.data[i]);
}

/** Logits of both heads for one image. */
function forward(work, image) {
  const { N, D, L, params } = work;
  const part = (name) => ({ w: params[`${name}.w`], g: params[`${name}.g`], b: params[`${name}.b`] });
  let x = embed(work, image);
  for (let l = 0; l < L; l++) {
    const own = (name) => part(`b${l}.${name}`);
    const attended = attention(linear(layerNorm(x, N, own('n1')), N, own('qkv')), work);
    const projected = linear(attended, N, own('proj'));
    x = x.map((v, i) => v + projected[i]);
    const hidden = linear(layerNorm(x, N, own('n2')), N, own('fc1')).map(geluOf);
    const mixed = linear(hidden, N, own('fc2'));
    x = x.map((v, i) => v + mixed[i]);
  }
  x = layerNorm(x, N, part('norm'));
  return [linear(x.subarray(0, D), 1, part('head')), linear(x.subarray(D, 2 * D), 1, part('hd'))];
}

/** Some logits of image 0, as [index in the result, value]. */
function logits(work) {
  const heads = forward(work, 0);
  const stride = work.classes > 100 ? 97 : 1;
  const chosen = [];
  for (let i = 0; i < work.classes; i += stride) {
    heads.forEach((head, which) => chosen.push([which * work.classes + i, head[i]]));
  }
  return chosen;
}

/** Mean over the batch of the mean of both heads' cross-entropies. */
function loss(work) {
  let total = 0;
  for (let image = 0; image < work.B; image++) {
    for (const head of forward(work, image)) {
      const max = head.reduce((a, b) => Math.max(a, b));
      const logSum = max + Math.log(head.reduce((sum, v) => sum + Math.exp(v - max), 0));
      total += (logSum - head[work.y[image]]) / 2 / work.B;
    }
  }
  return total;
}

const large = logits(cases['DeiT-Ti fwd b1']());
const references = { 'DeiT-Ti fwd b1': large, 'DeiT-Ti fwd b8': large };
for (const name of ['DeiT-Ti 384 fwd b1', 'DeiT-S fwd b4', 'tiny fwd']) references[name] = logits(cases[name]());
for (const name of ['train step b16', 'tiny train']) references[name] = [[0, loss(cases[name]())]];
writeFileSync(new URL('references.json', import.meta.url), `${JSON.stringify(references)}\n`);
