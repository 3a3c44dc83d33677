import { DeitError, Tensor } from '../engine/index.ts';

/**
 * Which parameters escape weight decay besides vectors and biases: `deit` exempts cls_token and pos_embed (the released
 * code with timm 0.3.2, which decays dist_token), `timm` dist_token too (timm since 0.4).
 */
export type DecayRule = 'deit' | 'timm';

const exempt: Readonly<Record<DecayRule, readonly string[]>> = {
  deit: ['cls_token', 'pos_embed'],
  timm: ['cls_token', 'pos_embed', 'dist_token'],
};

type Named = readonly [name: string, parameter: Tensor];

/** Parameters that an optimizer treats alike. */
export interface ParameterGroup {
  readonly parameters: readonly (Tensor | Named)[];
  /** Default: that of the optimizer. */
  readonly weightDecay?: number;
  /** Multiplies the learning rate. Default 1. */
  readonly lrScale?: number;
}

/** A group with everything filled in. */
export interface ResolvedGroup {
  readonly parameters: readonly Named[];
  readonly weightDecay: number;
  readonly lrScale: number;
}

/** What an optimizer trains: `model.parameters()`, `model.namedParameters()`, or groups. */
export type OptimizerParameters = readonly Tensor[] | readonly Named[] | readonly ParameterGroup[];

const names = new WeakMap<Tensor, string>();

/** Notes what a parameter is called in its model: for errors and for the state of optimizers. */
export const nameParameter = (parameter: Tensor, name: string): void => void names.set(parameter, name);

const isNamed = (entry: unknown): entry is Named =>
  Array.isArray(entry) && typeof entry[0] === 'string' && entry[1] instanceof Tensor;

/**
 * Groups with names for all parameters, by `parameters()` of the model or else by their number. Frozen parameters of a plain
 * list are left out. Throws `bad-argument` for what is no parameter.
 */
export function resolveGroups(given: OptimizerParameters, weightDecay: number): ResolvedGroup[] {
  const isGroup = (entry: unknown): entry is ParameterGroup =>
    typeof entry === 'object' && entry !== null && Array.isArray((entry as ParameterGroup).parameters);
  const entries: readonly unknown[] = Array.isArray(given) ? given : [given];
  const isTrained = (entry: unknown): boolean => (isNamed(entry) ? entry[1] : (entry as Tensor)).requiresGrad !== false;
  const groups = entries.length > 0 && entries.every(isGroup) ? entries : [{ parameters: entries.filter(isTrained) }];
  const taken = new Set<string>();
  const named = (entry: unknown): Named => {
    const [name, parameter] = isNamed(entry) ? entry : [names.get(entry as Tensor), entry];
    if (!(parameter instanceof Tensor)) {
      throw new DeitError('bad-argument', 'This is no parameter that an optimizer could train.', {
        where: `entry ${taken.size}`,
        expected: 'model.parameters(), model.namedParameters(), or groups { parameters, weightDecay, lrScale }',
        found: String(parameter),
      });
    }
    const own = name === undefined || taken.has(name) ? String(taken.size) : name;
    taken.add(own);
    return [own, parameter];
  };
  return groups.map((group) => {
    const { parameters, weightDecay: decay = weightDecay, lrScale = 1 } = group as ParameterGroup;
    return { parameters: parameters.map(named), weightDecay: decay, lrScale };
  });
}

export const isDecayed = (name: string, shape: readonly number[], rule: DecayRule): boolean =>
  shape.length > 1 && !name.endsWith('.bias') && !exempt[rule].includes(name);

/** A model's parameters in two groups, with weight decay and without; frozen ones are left out. */
export function decayGroups(
  named: readonly (readonly [string, Tensor])[],
  weightDecay: number,
  rule: DecayRule = 'deit',
): ResolvedGroup[] {
  const trained = named.filter(([, parameter]) => parameter.requiresGrad);
  const decayed = trained.filter(([name, { shape }]) => isDecayed(name, shape, rule));
  const rest = trained.filter(([name, { shape }]) => !isDecayed(name, shape, rule));
  const groups = [
    { parameters: decayed, weightDecay, lrScale: 1 },
    { parameters: rest, weightDecay: 0, lrScale: 1 },
  ];
  return groups.filter(({ parameters }) => parameters.length > 0);
}
