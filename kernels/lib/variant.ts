import type { DeviceProfile } from './device.ts';
import { DeitError } from './errors.ts';
import type { Allocation, Kernel, Launch } from './kernel.ts';

/*
 * A kernel may be computed in several ways that give the same result but for rounding: by other tiles, with or without
 * subgroups, with operands packed first. Each of them is a variant. A kernel has one array of them, in order of
 * preference, and everybody chooses from that array: the heuristic takes the first that fits and claims to be the
 * default, the tuner times those that fit, checkpoints and tuning caches record names. A new variant is one file
 * and one line in the array.
 */

/**
 * When a variant is used, where it fits: unless another is asked for ('default'), only where the tuner measured it to be
 * faster ('tuned'), or only where it is asked for by name ('named'), since it is not worth the time to measure.
 */
export type Use = 'default' | 'tuned' | 'named';

export interface Choice<Problem> {
  /** Within the array. Tuning caches and checkpoints record it. */
  readonly name: string;
  /** Whether it gives the result of the problem on the device. */
  readonly fits: (problem: Problem, device: DeviceProfile) => boolean;
  /** 'default' if left out. */
  readonly use?: (problem: Problem, device: DeviceProfile) => Use;
}

export interface Variant<Problem> extends Choice<Problem> {
  /** Scratch memory is declared in the launches: see `LaunchSpec.workspace`. */
  readonly launches: (problem: Problem, device: DeviceProfile) => Launch[];
}

/** The variant called `wanted`, or the first that fits and is a default. Throws `bad-argument` if there is none. */
export function choose<Problem, Kind extends Choice<Problem>>(
  variants: readonly Kind[],
  problem: Problem,
  device: DeviceProfile,
  wanted?: string,
  kernel?: string,
): Kind {
  const chosen = variants.find(
    (variant) =>
      (wanted === undefined || variant.name === wanted) &&
      variant.fits(problem, device) &&
      (wanted !== undefined || useOf(variant, problem, device) === 'default'),
  );
  if (chosen) return chosen;
  throw new DeitError('bad-argument', 'No such variant of a kernel fits the problem on this device.', {
    ...(kernel !== undefined && { where: `kernel ${kernel}` }),
    expected: variants
      .filter((variant) => variant.fits(problem, device))
      .map(({ name }) => name)
      .join(', '),
    found: wanted ?? 'no default',
  });
}

/** The variants that are worth measuring: those that fit, the default first, then in order of preference. */
export function candidates<Problem>(
  variants: readonly Variant<Problem>[],
  problem: Problem,
  device: DeviceProfile,
): Variant<Problem>[] {
  const usual = choose(variants, problem, device);
  const others = variants.filter(
    (variant) => variant !== usual && variant.fits(problem, device) && useOf(variant, problem, device) !== 'named',
  );
  return [usual, ...others];
}

/** When a variant that fits is used. */
export const useOf = <Problem>(variant: Choice<Problem>, problem: Problem, device: DeviceProfile): Use =>
  variant.use?.(problem, device) ?? 'default';

/** The problem of a kernel with variants may name the one to use. */
export interface Named {
  readonly variant?: string;
}

/** What the tuner needs to measure the variants of a kernel. */
export interface Tuning<Problem> {
  /** Floating point operations. */
  readonly flops: (problem: Problem) => number;
  /** For people. */
  readonly describe: (problem: Problem) => string;
  /** Every tensor that the kernel binds for a problem, by name. */
  readonly tensors: (problem: Problem) => Readonly<Record<string, Allocation>>;
  /** Those that it writes and that do not depend on the variant but for rounding. */
  readonly results: readonly string[];
  /** Largest difference between two variants, by rounding alone, in units of a result's Euclidean norm. */
  readonly tolerance: (problem: Problem) => number;
}

/** The tolerance of sums of k terms of both signs, in any order: some 2^-24 times the square root of k, relative to the norm. */
export const roundingOfSums = (k: number): number => 2 ** -24 * (16 + 2 * Math.sqrt(k));

/** A kernel with variants. It is called like any other kernel. */
export interface VariantKernel<Problem> {
  (problem: Problem & Named, device: DeviceProfile): Launch[];
  /** Operator and pass, for example `layer_norm.forward`. */
  readonly id: string;
  /** Names of all variants, in order of preference. */
  readonly variants: readonly string[];
  /** Names of those that are worth measuring, the default first. */
  candidates(problem: Problem, device: DeviceProfile): string[];
  /** Whether it has a variant of this name that takes the problem. */
  has(name: string, problem: Problem, device: DeviceProfile): boolean;
  /** null: the tuner leaves it to the heuristic. */
  readonly tuning: Tuning<Problem> | null;
}

/**
 * The kernel that computes a problem by one of `variants`. `plan` checks the problem and works out, once, what they share;
 * all of them are then asked about its result.
 */
export function kernelOf<Problem, Plan = Problem>(
  id: string,
  plan: (problem: Problem, device: DeviceProfile) => Plan,
  variants: readonly Variant<Plan>[],
  tuning: Tuning<Problem> | null = null,
): VariantKernel<Problem> {
  const kernel: Kernel<Problem & Named> = (problem, device) => {
    const planned = plan(problem, device);
    return choose(variants, planned, device, problem.variant, id).launches(planned, device);
  };
  return Object.assign(kernel, {
    id,
    tuning,
    variants: variants.map(({ name }) => name),
    candidates: (problem: Problem, device: DeviceProfile) =>
      candidates(variants, plan(problem, device), device).map(({ name }) => name),
    has: (wanted: string, problem: Problem, device: DeviceProfile) =>
      variants.some(({ name, fits }) => name === wanted && fits(plan(problem, device), device)),
  });
}
