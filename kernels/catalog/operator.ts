import type { DeviceProfile } from '../lib/device.ts';
import type { Kernel, Launch } from '../lib/kernel.ts';

/** A value of a problem as it is written in JSON: a size, a switch, a name, or a shape. */
export type Field = number | boolean | string | readonly number[];

/** A kernel with its problem. */
export interface BoundKernel {
  /** Names of its variants in order of preference; none if there is only one way to compute it. */
  readonly variants: readonly string[];
  /** The launches of the variant that the heuristic chooses, or of the one that is named. */
  launches(device: DeviceProfile, variant?: string): Launch[];
}

/** An operator in the catalogue: which problems it takes, and the kernels that compute it and its gradients. */
export interface Operator {
  /** The folder below kernels/ that has its formula, reference and variants. */
  readonly folder: string;
  /** What a problem must have, by example. Numbers are whole and at least 1. */
  readonly sizes: Readonly<Record<string, Field>>;
  /** What may be left out, and what it is then. */
  readonly options: Readonly<Record<string, Field>>;
  /** The names that an option which is a string may have. */
  readonly choices: Readonly<Record<string, readonly string[]>>;
  /** The kernels in the order in which they run, for a problem with all fields. */
  readonly forward: (problem: never) => readonly BoundKernel[];
  /** null: there is no gradient. */
  readonly backward: ((problem: never) => readonly BoundKernel[]) | null;
}

interface OperatorSpec<Sizes, Options> {
  readonly folder: string;
  readonly sizes: Sizes;
  readonly options?: Options;
  readonly choices?: Readonly<Record<string, readonly string[]>>;
  readonly forward: (problem: Sizes & Options) => readonly BoundKernel[];
  readonly backward?: (problem: Sizes & Options) => readonly BoundKernel[];
}

export const operator = <
  Sizes extends Readonly<Record<string, Field>>,
  Options extends Readonly<Record<string, Field>> = Readonly<Record<never, Field>>,
>(
  spec: OperatorSpec<Sizes, Options>,
): Operator => ({
  options: {},
  choices: {},
  ...spec,
  backward: spec.backward ?? null,
});

/** `kernel` for `problem`. */
export const of = <Problem extends object>(
  kernel: Kernel<Problem> & { readonly variants?: readonly string[] },
  problem: Problem,
): BoundKernel => ({
  variants: kernel.variants ?? [],
  launches: (device, variant) => kernel(variant === undefined ? problem : { ...problem, variant }, device),
});
