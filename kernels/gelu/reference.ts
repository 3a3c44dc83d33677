import { erfc } from '../lib/reference-math.ts';
import type { GeluApproximation } from './index.ts';

/** GELU of one number in float64, and its derivative. */
export function geluReference(x: number, approximate: GeluApproximation = 'none'): { y: number; slope: number } {
  if (approximate === 'none') {
    const phi = 0.5 * erfc(-x / Math.SQRT2);
    return { y: x * phi, slope: phi + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI) };
  }
  const c = Math.sqrt(2 / Math.PI);
  const t = Math.tanh(c * (x + 0.044715 * x ** 3));
  const inner = c * (1 + 3 * 0.044715 * x * x);
  return { y: 0.5 * x * (1 + t), slope: 0.5 * (1 + t) + (t * t === 1 ? 0 : 0.5 * x * (1 - t * t) * inner) };
}
