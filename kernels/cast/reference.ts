import type { CastType } from './index.ts';

/** The bits of the f16 number nearest to x, ties to even, by the definition of the format. */
export function f16Bits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (Number.isNaN(a)) return 0x7e00;
  if (a >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(a || 2 ** -30)));
  const spacing = 2 ** (exponent - 10);
  let steps = Math.round(a / spacing);
  if (Math.abs(a / spacing - Math.trunc(a / spacing)) === 0.5) steps = 2 * Math.round(a / spacing / 2);
  // Steps below 1024 are subnormal; at 2048 they carry into the exponent by themselves.
  return sign | (exponent === -14 ? steps : ((exponent + 14) << 10) + steps);
}

/** The number that f16 bits stand for. */
export function f16Value(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31 && mantissa > 0) return NaN;
  const magnitude =
    exponent === 31 ? Infinity : exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/**
 * A number of type `from` as the number of type `to` that it becomes. Integers keep their bits. Floats become integers without
 * the fraction, saturated at the largest and smallest numbers that both types have.
 */
export function castReference(x: number, from: CastType, to: CastType): number {
  if (to === 'f32') return Math.fround(x);
  if (to === 'f16') return f16Value(f16Bits(x));
  if (from === 'i32' || from === 'u32') return to === 'i32' ? x | 0 : x >>> 0;
  const signed = to === 'i32';
  const largest = from === 'f16' ? 65504 : signed ? 2 ** 31 - 128 : 2 ** 32 - 256;
  const smallest = signed ? (from === 'f16' ? -65504 : -(2 ** 31)) : 0;
  return Math.min(Math.max(Math.trunc(x), smallest), largest);
}
