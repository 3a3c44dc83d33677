export interface AdamWSettings {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

/** Step number `step` (from 1) in float64 for one tensor: parameters p and moments m, v, updated in place by gradients g. */
export function adamWReference(
  { lr, beta1, beta2, eps, weightDecay }: AdamWSettings,
  step: number,
  { p, m, v }: Readonly<Record<'p' | 'm' | 'v', Float64Array>>,
  g: ArrayLike<number>,
): void {
  for (let i = 0; i < p.length; i++) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2;
    const mHat = m[i] / (1 - beta1 ** step);
    const vHat = v[i] / (1 - beta2 ** step);
    p[i] -= lr * weightDecay * p[i];
    p[i] -= (lr * mHat) / (Math.sqrt(vHat) + eps);
  }
}
