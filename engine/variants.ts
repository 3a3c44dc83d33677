import type { DeviceProfile } from '../kernels/lib/device.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import type { VariantKernel } from '../kernels/lib/variant.ts';
import type { AdapterReport } from './gpu/context.ts';
import type { DType } from './dtype.ts';
import { parseStrictJson } from './json.ts';
import type { JsonValue } from './json.ts';
import type { Shape } from './tensor-shape.ts';
import type { Tensor, TensorEngine } from './tensor.ts';

declare module './tensor.ts' {
  interface TensorEngine {
    /** Ways to compute that were chosen by measurement; empty unless asked for. */
    readonly variants: VariantTable;
  }
}

/** One way to compute a problem. */
export interface Way {
  readonly name: string;
}

/** A computation for which there are several ways, among which the tuner may choose. */
export interface Tunable<Problem extends object, Chosen extends Way> {
  readonly name: string;
  /** All ways that give the result on a device, the usual one first, then likelier winners first. */
  ways(problem: Problem, device: DeviceProfile): readonly Chosen[];
  /** Floating point operations. */
  flops(problem: Problem): number;
  /** For people. */
  describe(problem: Problem): string;
  /** Makes operands with `uniform`, and tells how the problem is computed on them. */
  trial(engine: TensorEngine, problem: Problem, uniform: (shape: Shape, dtype?: DType) => Tensor): Trial<Chosen>;
}

export interface Trial<Chosen extends Way> {
  /** Records the problem computed in one way. */
  record(way: Chosen): void;
  /** What that wrote. */
  readonly results: readonly Tensor[];
  /** Largest difference between two ways in units of the results' Euclidean norm, by rounding alone. */
  readonly tolerance: number;
}

/** The tolerance of sums of k terms of both signs, in any order: some 2^-24 times the square root of k, relative to the norm. */
export const roundingOfSums = (k: number): number => 2 ** -24 * (16 + 2 * Math.sqrt(k));

/** A problem that work asked a choice for. */
export interface Asked {
  readonly tunable: Tunable<object, Way>;
  readonly problem: object;
  readonly key: string;
  /** How often. */
  readonly count: number;
}

/**
 * Ways chosen by measurement, as plain data for files: those of one device, by problem. They mean nothing on another
 * device, whose engine leaves them aside.
 */
export interface VariantChoices {
  /** Adapter, driver and what kernels know of the device. */
  readonly device: string;
  readonly choices: Readonly<Record<string, string>>;
}

/**
 * Which way each problem is computed, where that has been measured (see `tune`); empty unless choices were brought in.
 * Work recorded before a choice keeps what it was recorded with.
 */
export class VariantTable {
  /** Adapter, driver, and what kernels know of the device. */
  readonly device: string;
  private readonly names = new Map<string, string>();
  /** By key, what the names stand for; null where a name stands for nothing (any more). */
  private readonly found = new Map<string, Way | null>();
  private asked: Map<string, Asked> | null = null;
  /** See `EngineOptions.variant`. */
  private readonly variant: string | null;

  constructor(
    adapter: AdapterReport,
    private readonly profile: DeviceProfile,
    { variants: choices, variant }: { variants?: VariantChoices; variant?: string } = {},
  ) {
    this.variant = variant ?? null;
    const { name, vendor, architecture, description } = adapter;
    this.device = JSON.stringify([name, vendor, architecture, description, profile]);
    if (choices) this.replace(choices);
  }

  get size(): number {
    return this.names.size;
  }

  /** The variant that the engine's options want, if the kernel has it and it takes the problem. */
  preferred<Problem extends object>(kernel: Kernel<Problem>, problem: Problem): string | null {
    const { variant, profile } = this;
    if (variant === null || !('variants' in kernel) || 'variant' in problem) return null;
    return (kernel as VariantKernel<Problem>).has(variant, problem, profile) ? variant : null;
  }

  /** The way chosen for a problem, or null to take the usual one. */
  find<Problem extends object, Chosen extends Way>(tunable: Tunable<Problem, Chosen>, problem: Problem): Chosen | null {
    if (this.names.size === 0 && !this.asked) return null;
    const key = `${tunable.name} ${JSON.stringify(problem)}`;
    if (this.asked) {
      const count = (this.asked.get(key)?.count ?? 0) + 1;
      this.asked.set(key, { tunable, problem, key, count });
    }
    const name = this.names.get(key);
    if (name === undefined) return null;
    let way = this.found.get(key);
    if (way === undefined) {
      way = tunable.ways(problem, this.profile).find((candidate) => candidate.name === name) ?? null;
      this.found.set(key, way);
    }
    return way as Chosen | null;
  }

  has(key: string): boolean {
    return this.names.has(key);
  }

  choose(key: string, name: string): void {
    this.names.set(key, name);
    this.found.delete(key);
  }

  /** Runs `work` and returns what choices it asked for, on this engine or a dry one made of it. */
  async collect(work: () => unknown): Promise<Asked[]> {
    const before = this.asked;
    const asked = new Map<string, Asked>();
    this.asked = asked;
    try {
      await work();
    } finally {
      this.asked = before;
    }
    return [...asked.values()];
  }

  /** Chooses, for a problem that was asked for, the way of this name, if there is one (any more). */
  adopt({ tunable, problem, key }: Asked, name: string): boolean {
    const exists = tunable.ways(problem, this.profile).some((way) => way.name === name);
    if (exists) this.choose(key, name);
    return exists;
  }

  export(): VariantChoices {
    return { device: this.device, choices: Object.fromEntries(this.names) };
  }

  /** Forgets all choices and takes over these, if they were made on this very device; returns whether they were. */
  replace({ device, choices }: VariantChoices): boolean {
    this.names.clear();
    this.found.clear();
    if (device !== this.device) return false;
    for (const [key, name] of Object.entries(choices)) this.choose(key, name);
    return true;
  }
}

/** Choices from a file. Throws `file-corrupt`; `where` names the file. */
export function parseVariantChoices(source: string | Uint8Array, where: string): VariantChoices {
  return variantChoicesOf(parseStrictJson(source, where), where);
}

/** Choices from parsed JSON. */
export function variantChoicesOf(value: JsonValue, where: string): VariantChoices {
  const device = value instanceof Map ? value.get('device') : null;
  const choices = value instanceof Map ? value.get('choices') : null;
  if (typeof device === 'string' && choices instanceof Map) {
    const entries = [...choices].flatMap(([key, name]) => (typeof name === 'string' ? [[key, name] as const] : []));
    if (entries.length === choices.size) return { device, choices: Object.fromEntries(entries) };
  }
  throw new DeitError('file-corrupt', 'These are no choices of kernel variants.', {
    where,
    expected: 'an object with `device` and, by problem, `choices`',
  });
}
