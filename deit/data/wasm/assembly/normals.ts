/** Normal draws of the generator that all random draws come from (kernels/lib/philox.ts), the same to the rounding of f32. */

/** The words of the last block. */
let word0: u32 = 0;
let word1: u32 = 0;
let word2: u32 = 0;
let word3: u32 = 0;

/** Philox 4x32-10 for the counter (index, step, stream, 0). */
function block(seed: u32, purpose: u32, step: u32, stream: u32, index: u32): void {
  let c0 = index;
  let c1 = step;
  let c2 = stream;
  let c3: u32 = 0;
  let k0 = seed;
  let k1 = purpose;
  for (let round = 0; round < 10; round++) {
    const product0 = <u64>c0 * 0xd2511f53;
    const product1 = <u64>c2 * 0xcd9e8d57;
    c0 = (<u32>(product1 >>> 32)) ^ c1 ^ k0;
    c1 = <u32>product1;
    c2 = (<u32>(product0 >>> 32)) ^ c3 ^ k1;
    c3 = <u32>product0;
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  word0 = c0;
  word1 = c1;
  word2 = c2;
  word3 = c3;
}

/** Box-Muller. */
function normal(first: u32, second: u32): f32 {
  const u = (<f64>first + 0.5) * 2.3283064365386963e-10; // 2^-32
  const v = <f64>second * 2.3283064365386963e-10;
  return <f32>(Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v));
}

/** `count` draws, of two words each, from word number `word` (any but the last) of a stream on. */
export function normals(seed: u32, purpose: u32, step: u32, stream: u32, word: f64, out: usize, count: i32): void {
  let index = <u32>(word / 4);
  const offset = <i32>(word - <f64>index * 4);
  block(seed, purpose, step, stream, index);
  let at = offset;
  for (let i = 0; i < count; i++, out += 4) {
    if (at === 4) {
      block(seed, purpose, step, stream, ++index);
      at = 0;
    }
    if (at === 0) store<f32>(out, normal(word0, word1));
    else if (at === 2) store<f32>(out, normal(word2, word3));
    else if (at === 1) store<f32>(out, normal(word1, word2));
    else {
      const first = word3;
      block(seed, purpose, step, stream, ++index);
      store<f32>(out, normal(first, word0));
      at = 1;
      continue;
    }
    at += 2;
  }
}
