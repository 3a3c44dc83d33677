/** The complementary error function in float64: 1 - erf by its Taylor series up to 1, a continued fraction from 1 on. */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 1) return 1 - erf(x);
  let fraction = 0;
  for (let n = 600; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** The error function in float64. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a >= 1) return Math.sign(x) * (1 - erfc(a));
  let term = a;
  let sum = a;
  for (let n = 1; Math.abs(term) > 1e-20 * sum; n++) {
    term *= (-a * a) / n;
    sum += term / (2 * n + 1);
  }
  return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
}
