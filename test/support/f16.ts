import { it } from 'vitest';
import type { Engine, Tensor } from '../../engine/node.ts';
import { f16ToNumber, numberToF16 } from '../../engine/float16.ts';

/** Largest relative error of one rounding to f16: 10 stored bits, to the nearest. */
export const HALF_UNIT = 2 ** -11;

/** Numbers rounded to f16. */
export const rounded = (values: ArrayLike<number>): Float32Array =>
  Float32Array.from(values, (value) => f16ToNumber(numberToF16(value)));

/** An f16 tensor of numbers that are representable. */
export const f16Tensor = (engine: Engine, values: ArrayLike<number>, shape: readonly number[]): Tensor =>
  engine.tensor(Uint16Array.from(values, numberToF16), shape, 'f16');

/** The content of an f16 or f32 tensor as numbers. */
export async function numbers(x: Tensor): Promise<Float32Array> {
  const content = await x.read();
  return Float32Array.from(content, (value) => (x.dtype === 'f16' ? f16ToNumber(value) : value));
}

/** The result of a norm under autocast, computed as for a product that takes it. */
export function forProduct(x: Tensor): Tensor {
  x.decide('f16');
  return x;
}

/** Declares tests that are skipped where the adapter of `engine` has no f16. */
export const f16Tests =
  (engine: () => Engine) =>
  (name: string, test: () => Promise<void>): void => {
    it(name, async ({ skip }) => {
      if (!engine().profile.f16) skip();
      await test();
    });
  };
