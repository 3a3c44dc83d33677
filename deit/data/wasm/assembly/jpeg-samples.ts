/** From coefficients to samples, and from samples to RGB: the vector part of decoding JPEG. */

/** Pairs of constants of the DCT, with 13 fractional bits, for products of interleaved rows (jidctint.c's, combined). */
function pair(a: i32, b: i32): v128 {
  return i32x4.splat((a & 0xffff) | (b << 16));
}

function interleaveLow(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
function interleaveHigh(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Sum and difference of two halves each, descaled: stored as the rows `first` and `7 - first`. */
function butterfly(
  at: usize,
  first: i32,
  evenLow: v128,
  evenHigh: v128,
  oddLow: v128,
  oddHigh: v128,
  shift: i32,
): void {
  const half = i32x4.splat(1 << (shift - 1));
  const low = i32x4.add(evenLow, half);
  const high = i32x4.add(evenHigh, half);
  v128.store(
    at + (first << 4),
    i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.add(low, oddLow), shift), i32x4.shr_s(i32x4.add(high, oddHigh), shift)),
  );
  v128.store(
    at + ((7 - first) << 4),
    i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.sub(low, oddLow), shift), i32x4.shr_s(i32x4.sub(high, oddHigh), shift)),
  );
}

/** One pass of the inverse DCT over eight rows of eight words, in place. */
function inverseDct(at: usize, shift: i32): void {
  const in0 = v128.load(at);
  const in1 = v128.load(at, 16);
  const in2 = v128.load(at, 32);
  const in3 = v128.load(at, 48);
  const in4 = v128.load(at, 64);
  const in5 = v128.load(at, 80);
  const in6 = v128.load(at, 96);
  const in7 = v128.load(at, 112);

  const low26 = interleaveLow(in2, in6);
  const high26 = interleaveHigh(in2, in6);
  const turn3 = pair(4433 + 6270, 4433);
  const turn2 = pair(4433, 4433 - 15137);
  const low3 = i32x4.dot_i16x8_s(low26, turn3);
  const high3 = i32x4.dot_i16x8_s(high26, turn3);
  const low2 = i32x4.dot_i16x8_s(low26, turn2);
  const high2 = i32x4.dot_i16x8_s(high26, turn2);
  const sum = i16x8.add(in0, in4);
  const difference = i16x8.sub(in0, in4);
  const low0 = i32x4.shl(i32x4.extend_low_i16x8_s(sum), 13);
  const high0 = i32x4.shl(i32x4.extend_high_i16x8_s(sum), 13);
  const low1 = i32x4.shl(i32x4.extend_low_i16x8_s(difference), 13);
  const high1 = i32x4.shl(i32x4.extend_high_i16x8_s(difference), 13);

  const z3 = i16x8.add(in7, in3);
  const z4 = i16x8.add(in5, in1);
  const lowZ = interleaveLow(z3, z4);
  const highZ = interleaveHigh(z3, z4);
  const turnZ3 = pair(9633 - 16069, 9633);
  const turnZ4 = pair(9633, 9633 - 3196);
  const lowZ3 = i32x4.dot_i16x8_s(lowZ, turnZ3);
  const highZ3 = i32x4.dot_i16x8_s(highZ, turnZ3);
  const lowZ4 = i32x4.dot_i16x8_s(lowZ, turnZ4);
  const highZ4 = i32x4.dot_i16x8_s(highZ, turnZ4);
  const low71 = interleaveLow(in7, in1);
  const high71 = interleaveHigh(in7, in1);
  const low53 = interleaveLow(in5, in3);
  const high53 = interleaveHigh(in5, in3);
  const turn71 = pair(2446 - 7373, -7373);
  const turn17 = pair(-7373, 12299 - 7373);
  const turn53 = pair(16819 - 20995, -20995);
  const turn35 = pair(-20995, 25172 - 20995);

  butterfly(
    at,
    0,
    i32x4.add(low0, low3),
    i32x4.add(high0, high3),
    i32x4.add(i32x4.dot_i16x8_s(low71, turn17), lowZ4),
    i32x4.add(i32x4.dot_i16x8_s(high71, turn17), highZ4),
    shift,
  );
  butterfly(
    at,
    1,
    i32x4.add(low1, low2),
    i32x4.add(high1, high2),
    i32x4.add(i32x4.dot_i16x8_s(low53, turn35), lowZ3),
    i32x4.add(i32x4.dot_i16x8_s(high53, turn35), highZ3),
    shift,
  );
  butterfly(
    at,
    2,
    i32x4.sub(low1, low2),
    i32x4.sub(high1, high2),
    i32x4.add(i32x4.dot_i16x8_s(low53, turn53), lowZ4),
    i32x4.add(i32x4.dot_i16x8_s(high53, turn53), highZ4),
    shift,
  );
  butterfly(
    at,
    3,
    i32x4.sub(low0, low3),
    i32x4.sub(high0, high3),
    i32x4.add(i32x4.dot_i16x8_s(low71, turn71), lowZ3),
    i32x4.add(i32x4.dot_i16x8_s(high71, turn71), highZ3),
    shift,
  );
}

/** Rows of eight words become columns, in place. */
function transpose(at: usize): void {
  const a0 = interleaveLow(v128.load(at), v128.load(at, 64));
  const a1 = interleaveHigh(v128.load(at), v128.load(at, 64));
  const b0 = interleaveLow(v128.load(at, 16), v128.load(at, 80));
  const b1 = interleaveHigh(v128.load(at, 16), v128.load(at, 80));
  const c0 = interleaveLow(v128.load(at, 32), v128.load(at, 96));
  const c1 = interleaveHigh(v128.load(at, 32), v128.load(at, 96));
  const d0 = interleaveLow(v128.load(at, 48), v128.load(at, 112));
  const d1 = interleaveHigh(v128.load(at, 48), v128.load(at, 112));
  const e0 = interleaveLow(a0, c0);
  const e1 = interleaveHigh(a0, c0);
  const e2 = interleaveLow(a1, c1);
  const e3 = interleaveHigh(a1, c1);
  const f0 = interleaveLow(b0, d0);
  const f1 = interleaveHigh(b0, d0);
  const f2 = interleaveLow(b1, d1);
  const f3 = interleaveHigh(b1, d1);
  v128.store(at, interleaveLow(e0, f0));
  v128.store(at, interleaveHigh(e0, f0), 16);
  v128.store(at, interleaveLow(e1, f1), 32);
  v128.store(at, interleaveHigh(e1, f1), 48);
  v128.store(at, interleaveLow(e2, f2), 64);
  v128.store(at, interleaveHigh(e2, f2), 80);
  v128.store(at, interleaveLow(e3, f3), 96);
  v128.store(at, interleaveHigh(e3, f3), 112);
}

/** The 8 x 8 samples of a block of coefficients, which are overwritten. `isFlat`: only the mean is not 0. */
export function blockSamples(block: usize, isFlat: bool, out: usize, stride: i32): void {
  const middle = i8x16.splat(-128);
  if (isFlat) {
    // Sixteen bits between the passes, as in libjpeg-turbo: it shows in broken files only.
    const level = (<i32>(<i16>(load<i16>(block) << 2)) + 16) >> 5;
    const all = i8x16.splat(<i8>(min(127, max(-128, level)) + 128));
    for (let y = 0; y < 8; y++, out += stride) v128.store64_lane(out, all, 0);
    return;
  }
  inverseDct(block, 11);
  transpose(block);
  inverseDct(block, 18);
  transpose(block);
  for (let y = 0; y < 8; y++, out += stride, block += 16) {
    const row = v128.load(block);
    v128.store64_lane(out, i8x16.add(i8x16.narrow_i16x8_s(row, row), middle), 0);
  }
}

/** Eight samples, three times themselves plus those of the nearer row beside: of four, three parts and one. */
function weighted(own: usize, beside: usize): v128 {
  return i16x8.add(i16x8.mul(v128.load8x8_u(own), i16x8.splat(3)), v128.load8x8_u(beside));
}

/** Sixteen samples of chroma for eight: `down` 2 from two rows, 1 from one. */
function upsampled(own: usize, beside: usize, down: i32): v128 {
  const three = i16x8.splat(3);
  if (down === 1) {
    const here = i16x8.mul(v128.load8x8_u(own), three);
    const even = i16x8.shr_u(i16x8.add(i16x8.add(here, v128.load8x8_u(own - 1)), i16x8.splat(1)), 2);
    const odd = i16x8.shr_u(i16x8.add(i16x8.add(here, v128.load8x8_u(own + 1)), i16x8.splat(2)), 2);
    return v128.or(even, i16x8.shl(odd, 8));
  }
  const here = i16x8.mul(weighted(own, beside), three);
  const even = i16x8.shr_u(i16x8.add(i16x8.add(here, weighted(own - 1, beside - 1)), i16x8.splat(8)), 4);
  const odd = i16x8.shr_u(i16x8.add(i16x8.add(here, weighted(own + 1, beside + 1)), i16x8.splat(7)), 4);
  return v128.or(even, i16x8.shl(odd, 8));
}

/** (factor a + 2 x half) / 2^16 for eight words; `pairs` holds (factor, half). */
function scaled(a: v128, b: v128, pairs: v128, half: i32): v128 {
  const low = i32x4.add(i32x4.dot_i16x8_s(interleaveLow(a, b), pairs), i32x4.splat(half));
  const high = i32x4.add(i32x4.dot_i16x8_s(interleaveHigh(a, b), pairs), i32x4.splat(half));
  return i16x8.narrow_i32x4_s(i32x4.shr_s(low, 16), i32x4.shr_s(high, 16));
}

/** R - Y = 1.402 Cr, G - Y = -0.34414 Cb - 0.71414 Cr, B - Y = 1.772 Cb, in 16 fractional bits, rounded (jdcolor.c). */
function redOf(cr: v128): v128 {
  return i16x8.add(cr, scaled(cr, cr, pair(91881 - 65536, 0), 32768));
}
function greenOf(cb: v128, cr: v128): v128 {
  return i16x8.sub(scaled(cb, cr, pair(-22554, 65536 - 46802), 32768), cr);
}
function blueOf(cb: v128): v128 {
  return i16x8.add(i16x8.shl(cb, 1), scaled(cb, cb, pair(116130 - 131072, 0), 32768));
}

function clipped(luma: v128, low: v128, high: v128): v128 {
  return i8x16.narrow_i16x8_u(
    i16x8.add(i16x8.extend_low_i8x16_u(luma), low),
    i16x8.add(i16x8.extend_high_i8x16_u(luma), high),
  );
}

/** Sixteen pixels, three bytes each. */
function storeRgb(out: usize, r: v128, g: v128, b: v128): void {
  const rg0 = v128.shuffle<i8>(r, g, 0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5);
  const rg1 = v128.shuffle<i8>(r, g, 21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26);
  const rg2 = v128.shuffle<i8>(r, g, 0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0);
  v128.store(out, v128.shuffle<i8>(rg0, b, 0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15));
  v128.store(out, v128.shuffle<i8>(rg1, b, 0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15), 16);
  v128.store(out, v128.shuffle<i8>(rg2, b, 26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31), 32);
}

/** A row of pixels from its samples of luma and those of chroma, its own row and the nearer one. `across` 0: grey. */
export function rowToRgb(
  luma: usize,
  cb: usize,
  cbBeside: usize,
  cr: usize,
  crBeside: usize,
  across: i32,
  down: i32,
  pixels: i32,
  out: usize,
): void {
  const middle = i16x8.splat(128);
  for (let x = 0; x < pixels; x += 16, luma += 16, out += 48) {
    const y = v128.load(luma);
    if (across === 0) {
      storeRgb(out, y, y, y);
      continue;
    }
    const offset = <usize>(across === 2 ? x >> 1 : x);
    const blue = across === 2 ? upsampled(cb + offset, cbBeside + offset, down) : v128.load(cb + offset);
    const red = across === 2 ? upsampled(cr + offset, crBeside + offset, down) : v128.load(cr + offset);
    const cbLow = i16x8.sub(i16x8.extend_low_i8x16_u(blue), middle);
    const cbHigh = i16x8.sub(i16x8.extend_high_i8x16_u(blue), middle);
    const crLow = i16x8.sub(i16x8.extend_low_i8x16_u(red), middle);
    const crHigh = i16x8.sub(i16x8.extend_high_i8x16_u(red), middle);
    storeRgb(
      out,
      clipped(y, redOf(crLow), redOf(crHigh)),
      clipped(y, greenOf(cbLow, crLow), greenOf(cbHigh, crHigh)),
      clipped(y, blueOf(cbLow), blueOf(cbHigh)),
    );
  }
}
