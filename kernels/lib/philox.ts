/**
 * Philox 4x32-10, the counter-based generator behind every random draw (Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). A draw is a pure function of (key, counter): the key is (seed, purpose), the counter is
 * (index, step, stream, 0). So a run that is resumed, or split over processes, draws what an unbroken run would have drawn.
 * The TypeScript and the WGSL below compute the same 32-bit words.
 */
import { u32 } from './kernel.ts';
import type { Uniforms } from './kernel.ts';

/** What a draw is for. Each purpose is a stream of its own, so that adding draws to one never shifts another. */
export const Purpose = {
  init: 1,
  dropout: 2,
  dropPath: 3,
  augment: 4,
  mix: 5,
  shuffle: 6,
  sample: 7,
  test: 8,
} as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle & 0xffff) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0;
}

/** Four 32-bit words for a 128-bit counter and a 64-bit key. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0);
    const low0 = Math.imul(M0, c0) >>> 0;
    const high1 = mulHigh(M1, c2);
    const low1 = Math.imul(M1, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A word as a uniform number in [0, 1) with 24 bits, exactly representable in f32 (the WGSL `uniform01` is the same). */
export const uniform01 = (word: number): number => (word >>> 8) * 2 ** -24;

/**
 * A sequential reader over one stream: (seed, purpose, step, stream) fixed, index counting up.
 * For host-side draws such as augmentation; (step, stream) are for example (epoch, image index).
 */
export class PhiloxStream {
  private words: number[] = [];
  private index = 0;

  constructor(
    private readonly seed: number,
    private readonly purpose: Purpose,
    private readonly step = 0,
    private readonly stream = 0,
  ) {}

  word(): number {
    if (this.words.length === 0) {
      const block = philox4x32(
        [this.index++ >>> 0, this.step >>> 0, this.stream >>> 0, 0],
        [this.seed >>> 0, this.purpose],
      );
      this.words = block.reverse();
    }
    return this.words.pop()!;
  }

  /** Where the next word is: its place in the stream, and the key and counter of its block but for the index. */
  get place(): { word: number; seed: number; purpose: Purpose; step: number; stream: number } {
    const { seed, purpose, step, stream } = this;
    return { word: this.index * 4 - this.words.length, seed, purpose, step, stream };
  }

  /** Passes over words, which whoever asked for the `place` has drawn by other means. */
  skip(words: number): void {
    const next = this.place.word + words;
    this.index = Math.floor(next / 4);
    this.words = [];
    for (let passed = 0; passed < next % 4; passed++) this.word();
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * uniform01(this.word());
  }

  /** Integer, uniform in [0, n), without modulo bias (Lemire's multiplication over 32 bits). */
  integer(n: number): number {
    const limit = 2 ** 32 % n;
    for (;;) {
      const product = this.word() * n;
      if (product % 2 ** 32 >= limit) return Math.floor(product / 2 ** 32);
    }
  }

  /** Normal by Box-Muller (two words a draw: simple, and independent of what was drawn before). */
  normal(mean = 0, std = 1): number {
    const u = (this.word() + 0.5) * 2 ** -32;
    const v = this.word() * 2 ** -32;
    return mean + std * Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  }

  /** Beta(a, b) from two gamma draws (Marsaglia and Tsang 2000; shapes below 1 boosted). */
  beta(a: number, b: number): number {
    const x = this.gamma(a);
    const y = this.gamma(b);
    return x / (x + y);
  }

  private gamma(shape: number): number {
    if (shape < 1) return this.gamma(shape + 1) * Math.pow((this.word() + 0.5) * 2 ** -32, 1 / shape);
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal();
      const v = (1 + c * x) ** 3;
      if (v <= 0) continue;
      const u = (this.word() + 0.5) * 2 ** -32;
      if (Math.log(u) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  }

  /** A uniformly random order of 0..n-1 (Fisher-Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

/** WGSL: `philox(counter, key) -> vec4u` and `uniform01(word) -> f32`, the same words as above. */
export const philoxWgsl = /* wgsl */ `
fn mul_high(a: u32, b: u32) -> u32 {
  let a_low = a & 0xffffu; let a_high = a >> 16u;
  let b_low = b & 0xffffu; let b_high = b >> 16u;
  let middle = a_high * b_low + ((a_low * b_low) >> 16u);
  let carry = (middle & 0xffffu) + a_low * b_high;
  return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}
fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = mul_high(${M0}u, c.x);
    let low0 = ${M0}u * c.x;
    let high1 = mul_high(${M1}u, c.z);
    let low1 = ${M1}u * c.z;
    c = vec4u(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
    k += vec2u(${W0}u, ${W1}u);
  }
  return c;
}
fn uniform01(word: u32) -> f32 { return f32(word >> 8u) * 5.9604644775390625e-8; }
`;

/** Which stream a kernel draws from. */
export interface Draw {
  seed: number;
  purpose: number;
  stream: number;
}

/** Uniforms that `drawWgsl` reads. */
export const drawUniforms = ({ seed, purpose, stream }: Draw): Uniforms => ({
  seed: u32(seed >>> 0),
  purpose: u32(purpose),
  stream: u32(stream),
});

/**
 * WGSL: `draw(block) -> vec4u`, words 4 block to 4 block + 3 of the stream, as `PhiloxStream` reads them on the host. The
 * step comes from the binding `step` (u32 [1]), so that a recorded step draws afresh when it is replayed.
 */
export const drawWgsl = /* wgsl */ `
${philoxWgsl}
fn draw(block: u32) -> vec4u {
  return philox(vec4u(block, step[0], params.stream, 0u), vec2u(params.seed, params.purpose));
}
`;
