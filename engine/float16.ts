/**
 * The two 16-bit float formats of weight files, as bit patterns (Node 20 has no Float16Array).
 * f16 is IEEE 754 binary16; bf16 is the upper half of an f32. Narrowing rounds to nearest, ties to even.
 */

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The value of an f16 bit pattern. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest f16 as a bit pattern; beyond 65,504 that is infinity. The argument is rounded to f32 first. */
export function numberToF16(value: number): number {
  float[0] = value;
  const bits = word[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65,520 is halfway between the largest f16 and what would come next.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below the smallest normal f16 numbers are multiples of 2^-24; scaling by a power of two is exact.
    const units = Math.abs(float[0]) * 2 ** 24;
    const floor = Math.floor(units);
    const above = units - floor;
    return sign | (floor + (above > 0.5 || (above === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  // Rebias the exponent; adding just under half a unit carries upwards exactly when rounding does.
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
  return sign | (rounded >>> 13);
}

/** The value of a bf16 bit pattern. */
export function bfloatToNumber(bits: number): number {
  word[0] = bits << 16;
  return float[0];
}

/** The nearest bf16 as a bit pattern. The argument is rounded to f32 first. */
export function numberToBfloat(value: number): number {
  float[0] = value;
  const bits = word[0];
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
