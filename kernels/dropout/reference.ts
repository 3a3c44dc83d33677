/** x / (1 - rate) where the uniform number `u` of the element is at least rate, else 0: y for x, and dx for dy. */
export const dropoutReference = (rate: number, u: ArrayLike<number>, x: ArrayLike<number>): Float64Array =>
  Float64Array.from(x, (value, i) => (u[i] >= rate ? value / (1 - rate) : 0));
