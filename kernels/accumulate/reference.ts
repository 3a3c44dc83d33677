/** The sum of two gradients in float64, element by element. */
export const accumulateReference = (a: ArrayLike<number>, b: ArrayLike<number>): Float64Array =>
  Float64Array.from(a, (value, i) => value + b[i]);
