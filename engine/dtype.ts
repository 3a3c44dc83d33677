import { DeitError } from '../kernels/lib/errors.ts';
import { f16ToNumber, numberToF16 } from './float16.ts';

/** Element types of tensors. `f16` is a storage type: kernels accumulate in f32. */
export type DType = (typeof DTYPES)[number];
const DTYPES = ['f32', 'f16', 'i32', 'u32'] as const;

/** f16 travels as its bit patterns, since Node 20 has no Float16Array. */
export type TypedArray = Float32Array | Uint16Array | Int32Array | Uint32Array;

export const bytesPerElement = (dtype: DType): number => (dtype === 'f16' ? 2 : 4);

/** Tensors of all dtypes are padded to this, so that kernels can read and write whole vectors. */
const PADDING = 16;

/** Bytes of memory that a tensor with `bytes` of content takes. */
export const paddedBytes = (bytes: number): number => Math.max(1, Math.ceil(bytes / PADDING)) * PADDING;

export function typedArray(dtype: DType, content: ArrayBuffer): TypedArray {
  switch (dtype) {
    case 'f32':
      return new Float32Array(content);
    case 'f16':
      return new Uint16Array(content);
    case 'i32':
      return new Int32Array(content);
    case 'u32':
      return new Uint32Array(content);
  }
}

/** The values as numbers: f16 converted from its bit patterns. */
export const numbers = (dtype: DType, values: TypedArray): ArrayLike<number> =>
  dtype === 'f16' ? Float32Array.from(values, f16ToNumber) : values;

/** Whether numbers of this type need not be whole. */
export const isFloat = (dtype: DType): boolean => dtype === 'f32' || dtype === 'f16';

/** Throws `bad-argument` unless `dtype` is one. */
export function expectDType(dtype: string, where: string): asserts dtype is DType {
  if ((DTYPES as readonly string[]).includes(dtype)) return;
  const instead: Readonly<Record<string, string>> = { f64: 'f32', i64: 'i32', u64: 'u32' };
  throw new DeitError('bad-argument', 'There is no such dtype.', {
    where,
    expected: DTYPES.join(', '),
    found: String(dtype),
    fix: instead[dtype] ? `WebGPU has no 64-bit numbers in kernels: use ${instead[dtype]}` : undefined,
  });
}

/**
 * A copy of host data in the type of array that `dtype` is stored in. Numbers of other types are converted: to f32 and f16
 * rounded, to integers by cutting off the fraction. For f16 a Uint16Array is taken as bit patterns. Throws `bad-argument` for
 * numbers beyond the range of an integer type.
 */
export function toTypedArray(data: ArrayLike<number>, dtype: DType): TypedArray {
  switch (dtype) {
    case 'f32':
      return data instanceof Float32Array ? data.slice() : Float32Array.from(data);
    case 'f16':
      return data instanceof Uint16Array ? data.slice() : Uint16Array.from(data, numberToF16);
    case 'i32':
      if (data instanceof Int32Array) return data.slice();
      expectRange(data, dtype, -(2 ** 31), 2 ** 31 - 1);
      return Int32Array.from(data);
    case 'u32':
      if (data instanceof Uint32Array) return data.slice();
      expectRange(data, dtype, 0, 2 ** 32 - 1);
      return Uint32Array.from(data);
  }
}

/** The bytes of an array, padded to whole words: queue writes are in words. */
export function bytesOf(typed: TypedArray): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(typed.buffer as ArrayBuffer, typed.byteOffset, typed.byteLength);
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  return padded;
}

function expectRange(data: ArrayLike<number>, dtype: DType, low: number, high: number): void {
  for (let i = 0; i < data.length; i++) {
    const whole = Math.trunc(data[i]);
    if (whole >= low && whole <= high) continue;
    throw new DeitError('bad-argument', `This number does not fit ${dtype}.`, {
      where: `element ${i}`,
      expected: `${low} to ${high}`,
      found: String(data[i]),
    });
  }
}
