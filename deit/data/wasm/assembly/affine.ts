/** Affine maps with Pillow's sampling: a 4 x 4 (bicubic) or 2 x 2 (bilinear) neighbourhood, in double precision. */

/** One RGB pixel (and the byte after it) as i32. */
function pixel(at: usize): v128 {
  return v128.swizzle(v128.load32_zero(at), i8x16(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1));
}

function clamp(value: i32, size: i32): i32 {
  return value < 0 ? 0 : value < size ? value : size - 1;
}

function lowDoubles(words: v128): v128 {
  return f64x2.convert_low_i32x4_s(words);
}

/** Lanes 2 and 3, of which only the first is a channel: blue. */
function highDoubles(words: v128): v128 {
  return f64x2.convert_low_i32x4_s(v128.shuffle<i32>(words, words, 2, 3, 2, 3));
}

/** v2 + d (p2 + d (p3 + d p4)): Horner's form in Pillow's order, for the truncation shows the last bit of the rounding. */
function horner(v2: v128, p2: v128, p3: v128, p4: v128, d: v128): v128 {
  return f64x2.add(v2, f64x2.mul(d, f64x2.add(p2, f64x2.mul(d, f64x2.add(p3, f64x2.mul(d, p4))))));
}

/** A cubic through four values in double precision. */
function cubic(v1: v128, v2: v128, v3: v128, v4: v128, d: v128): v128 {
  const p2 = f64x2.sub(v3, v1);
  const p3 = f64x2.sub(f64x2.add(f64x2.mul(f64x2.splat(2), f64x2.sub(v1, v2)), v3), v4);
  const p4 = f64x2.add(f64x2.sub(f64x2.sub(v2, v1), v3), v4);
  return horner(v2, p2, p3, p4, d);
}

/** Clipped to 0..255, truncated, and stored as three bytes. */
function storePixel(out: usize, redGreen: v128, blue: v128): void {
  const zero = f64x2.splat(0);
  const most = f64x2.splat(255);
  const low = i32x4.trunc_sat_f64x2_s_zero(f64x2.pmin(f64x2.pmax(redGreen, zero), most));
  const high = i32x4.trunc_sat_f64x2_s_zero(f64x2.pmin(f64x2.pmax(blue, zero), most));
  const four = v128.shuffle<i32>(low, high, 0, 1, 4, 5);
  const bytes = v128.swizzle(four, i8x16(0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  store<u16>(out, <u16>i16x8.extract_lane_u(bytes, 0));
  store<u8>(out, i8x16.extract_lane_u(bytes, 2), 2);
}

/** Where the results of a row of four samples go, for lack of functions with two results. */
let redGreen: v128 = i64x2(0, 0);
let blue: v128 = i64x2(0, 0);

/** The cubic of one row; the differences of levels are whole numbers, so they are exact. */
function cubicRow(row: usize, x0: usize, x1: usize, x2: usize, x3: usize, d: v128): void {
  const v1 = pixel(row + x0);
  const v2 = pixel(row + x1);
  const v3 = pixel(row + x2);
  const v4 = pixel(row + x3);
  const p2 = i32x4.sub(v3, v1);
  const fall = i32x4.sub(v1, v2);
  const end = i32x4.sub(v3, v4);
  const p3 = i32x4.add(i32x4.add(fall, fall), end);
  const p4 = i32x4.sub(i32x4.neg(fall), end);
  redGreen = horner(lowDoubles(v2), lowDoubles(p2), lowDoubles(p3), lowDoubles(p4), d);
  blue = horner(highDoubles(v2), highDoubles(p2), highDoubles(p3), highDoubles(p4), d);
}

function bicubic(source: usize, width: i32, height: i32, x: f64, y: f64, out: usize): void {
  const column = <i32>Math.floor(x);
  const row = <i32>Math.floor(y);
  const dx = x - <f64>column;
  const dy = y - <f64>row;
  const stride = width * 3;
  const x0 = <usize>(clamp(column - 1, width) * 3);
  const x1 = <usize>(clamp(column, width) * 3);
  const x2 = <usize>(clamp(column + 1, width) * 3);
  const x3 = <usize>(clamp(column + 2, width) * 3);
  const y0 = source + <usize>(clamp(row - 1, height) * stride);
  // The position is inside the image, so row is -1 at the least; a row outside repeats the one before it.
  const y1 = row >= 0 ? source + <usize>(row * stride) : y0;
  const across = f64x2.splat(dx);
  // Where a fraction is 0 the cubic is its second value, so one row (one column) is enough: shears and translations.
  if (dy === 0) {
    cubicRow(y1, x0, x1, x2, x3, across);
    storePixel(out, redGreen, blue);
    return;
  }
  const y2 = row + 1 < height ? source + <usize>((row + 1) * stride) : y1;
  const y3 = row + 2 < height ? source + <usize>((row + 2) * stride) : y2;
  const down = f64x2.splat(dy);
  if (dx === 0) {
    cubicRow(0, y0 + x1, y1 + x1, y2 + x1, y3 + x1, down);
    storePixel(out, redGreen, blue);
    return;
  }
  cubicRow(y0, x0, x1, x2, x3, across);
  const redGreen0 = redGreen;
  const blue0 = blue;
  cubicRow(y1, x0, x1, x2, x3, across);
  const redGreen1 = redGreen;
  const blue1 = blue;
  cubicRow(y2, x0, x1, x2, x3, across);
  const redGreen2 = redGreen;
  const blue2 = blue;
  cubicRow(y3, x0, x1, x2, x3, across);
  storePixel(out, cubic(redGreen0, redGreen1, redGreen2, redGreen, down), cubic(blue0, blue1, blue2, blue, down));
}

/** a + (b - a) d */
function linear(a: v128, b: v128, d: v128): v128 {
  return f64x2.add(a, f64x2.mul(f64x2.sub(b, a), d));
}

function bilinear(source: usize, width: i32, height: i32, x: f64, y: f64, out: usize): void {
  const column = <i32>Math.floor(x);
  const row = <i32>Math.floor(y);
  const across = f64x2.splat(x - <f64>column);
  const down = f64x2.splat(y - <f64>row);
  const stride = width * 3;
  const left = <usize>(clamp(column, width) * 3);
  const right = <usize>(clamp(column + 1, width) * 3);
  const top = source + <usize>(clamp(row, height) * stride);
  const bottom = row + 1 < height ? source + <usize>((row + 1) * stride) : top;
  const a = pixel(top + left);
  const b = pixel(top + right);
  const c = pixel(bottom + left);
  const d = pixel(bottom + right);
  const upper = linear(lowDoubles(a), lowDoubles(b), across);
  const lower = linear(lowDoubles(c), lowDoubles(d), across);
  const upperBlue = linear(highDoubles(a), highDoubles(b), across);
  const lowerBlue = linear(highDoubles(c), highDoubles(d), across);
  storePixel(out, linear(upper, lower, down), linear(upperBlue, lowerBlue, down));
}

/** Output pixel (x, y) samples at (a x + b y + c, d x + e y + f), pixel centres at + 0.5; `fill` (R | G << 8 | B << 16) outside. */
export function affine(
  source: usize,
  width: i32,
  height: i32,
  out: usize,
  isBicubic: bool,
  fill: u32,
  a: f64,
  b: f64,
  c: f64,
  d: f64,
  e: f64,
  f: f64,
): void {
  for (let y = 0; y < height; y++) {
    const centerY = <f64>y + 0.5;
    for (let x = 0; x < width; x++) {
      const centerX = <f64>x + 0.5;
      const sourceX = a * centerX + b * centerY + c;
      const sourceY = d * centerX + e * centerY + f;
      if (sourceX < 0 || sourceX >= <f64>width || sourceY < 0 || sourceY >= <f64>height) {
        store<u16>(out, <u16>fill);
        store<u8>(out, <u8>(fill >> 16), 2);
      } else if (isBicubic) bicubic(source, width, height, sourceX - 0.5, sourceY - 0.5, out);
      else bilinear(source, width, height, sourceX - 0.5, sourceY - 0.5, out);
      out += 3;
    }
  }
}
