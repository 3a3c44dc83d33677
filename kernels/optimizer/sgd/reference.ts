export interface SgdSettings {
  readonly lr: number;
  readonly weightDecay: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
}

/** Step number `step` (from 1) in float64 for one tensor: parameters p and the momentum buffer b, updated in place by gradients g. */
export function sgdReference(
  { lr, weightDecay, momentum, dampening, nesterov }: SgdSettings,
  step: number,
  { p, b }: Readonly<Record<'p' | 'b', Float64Array>>,
  g: ArrayLike<number>,
): void {
  for (let i = 0; i < p.length; i++) {
    const decayed = g[i] + weightDecay * p[i];
    b[i] = step === 1 ? decayed : momentum * b[i] + (1 - dampening) * decayed;
    const direction = nesterov ? decayed + momentum * b[i] : b[i];
    p[i] -= lr * (momentum === 0 ? decayed : direction);
  }
}
