import type { Tensor } from '../engine/index.ts';

/**
 * Which parameters escape weight decay besides vectors and biases: `deit` exempts cls_token and pos_embed (the released
 * code with timm 0.3.2, which decays dist_token), `timm` dist_token too (timm since 0.4).
 */
export type DecayRule = 'deit' | 'timm';

const exempt: Readonly<Record<DecayRule, readonly string[]>> = {
  deit: ['cls_token', 'pos_embed'],
  timm: ['cls_token', 'pos_embed', 'dist_token'],
};

/** Parameters that an optimizer treats alike. */
export interface ParameterGroup {
  readonly parameters: readonly (readonly [name: string, parameter: Tensor])[];
  readonly weightDecay: number;
  /** Multiplies the learning rate. Default 1. */
  readonly lrScale?: number;
}

export const isDecayed = (name: string, shape: readonly number[], rule: DecayRule): boolean =>
  shape.length > 1 && !name.endsWith('.bias') && !exempt[rule].includes(name);

/** A model's parameters in two groups, with weight decay and without; frozen ones are left out. */
export function decayGroups(
  named: readonly (readonly [string, Tensor])[],
  weightDecay: number,
  rule: DecayRule = 'deit',
): ParameterGroup[] {
  const trained = named.filter(([, parameter]) => parameter.requiresGrad);
  const decayed = trained.filter(([name, { shape }]) => isDecayed(name, shape, rule));
  const rest = trained.filter(([name, { shape }]) => !isDecayed(name, shape, rule));
  const groups = [
    { parameters: decayed, weightDecay },
    { parameters: rest, weightDecay: 0 },
  ];
  return groups.filter(({ parameters }) => parameters.length > 0);
}
