import { DeitError } from '../kernels/lib/errors.ts';

/** Element types of tensors. `f16` is a storage type: kernels accumulate in f32. */
export type DType = 'f32' | 'f16' | 'i32' | 'u32';

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

/** Host data as the bytes that a tensor of `dtype` stores. Plain numbers and other array types are converted. */
export function toBytes(data: ArrayLike<number>, dtype: DType): Uint8Array<ArrayBuffer> {
  let typed: TypedArray;
  if (dtype === 'f32') typed = data instanceof Float32Array ? data.slice() : Float32Array.from(data);
  else if (dtype === 'i32') typed = data instanceof Int32Array ? data.slice() : Int32Array.from(data);
  else if (dtype === 'u32') typed = data instanceof Uint32Array ? data.slice() : Uint32Array.from(data);
  else if (data instanceof Uint16Array) typed = data.slice();
  else {
    throw new DeitError('dtype-mismatch', 'f16 tensors are made from their bit patterns.', {
      expected: 'Uint16Array',
      fix: 'make an f32 tensor and cast it with to("f16")',
    });
  }
  const bytes = new Uint8Array(typed.buffer as ArrayBuffer, typed.byteOffset, typed.byteLength);
  // Queue writes are in words.
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  return padded;
}
