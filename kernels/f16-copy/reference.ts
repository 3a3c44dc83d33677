import { f16Bits, f16Value } from '../cast/reference.ts';
import { LEFT_OUT } from './index.ts';

/** y after the blocks of 64 numbers of x went where `places` says, rounded to f16. */
export function f16CopyReference(x: ArrayLike<number>, places: ArrayLike<number>, y: ArrayLike<number>): number[] {
  const result = Array.from(y);
  for (let b = 0; b < places.length; b++) {
    if (places[b] === LEFT_OUT) continue;
    for (let i = 0; i < 64; i++) result[64 * places[b] + i] = f16Value(f16Bits(x[64 * b + i]));
  }
  return result;
}
