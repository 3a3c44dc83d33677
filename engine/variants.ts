import { attentionForward, attentionKeyValueGradient, attentionQueryGradient } from '../kernels/attention/index.ts';
import { convForward, convInputGradient, convWeightGradient } from '../kernels/conv2d/index.ts';
import { matmul } from '../kernels/matmul/index.ts';
import type { DeviceProfile } from '../kernels/lib/device.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import type { VariantKernel } from '../kernels/lib/variant.ts';
import type { AdapterReport } from './gpu/context.ts';
import { parseStrictJson } from './json.ts';
import type { JsonValue } from './json.ts';

declare module './tensor.ts' {
  interface TensorEngine {
    /** Variants that were chosen by measurement; empty unless asked for. */
    readonly variants: VariantTable;
  }
}

/** A problem that work asked a choice for. */
export interface Asked {
  readonly kernel: VariantKernel<object>;
  readonly problem: object;
  readonly key: string;
  /** How often. */
  readonly count: number;
}

/**
 * Variants chosen by measurement, as plain data for files: those of one device, by kernel and problem. They mean nothing on
 * another device, whose engine leaves them aside.
 */
export interface VariantChoices {
  /** Adapter, driver and what kernels know of the device. */
  readonly device: string;
  readonly choices: Readonly<Record<string, string>>;
}

/** The kernels that are tuned. */
const TUNED = [
  matmul,
  attentionForward,
  attentionQueryGradient,
  attentionKeyValueGradient,
  convForward,
  convInputGradient,
  convWeightGradient,
];

/**
 * Which variant computes each problem, where that has been measured (see `tune`); empty unless choices were brought in.
 * Work recorded before a choice keeps what it was recorded with.
 */
export class VariantTable {
  /** Adapter, driver, and what kernels know of the device. */
  readonly device: string;
  private readonly names = new Map<string, string>();
  /** By key, the chosen variant; null where no variant of the name takes the problem (any more). */
  private readonly found = new Map<string, string | null>();
  private asked: Map<string, Asked> | null = null;
  /** See `EngineOptions.variant`. */
  private readonly wanted: string | null;

  constructor(
    adapter: AdapterReport,
    private readonly profile: DeviceProfile,
    { variants: choices, variant }: { variants?: VariantChoices; variant?: string } = {},
  ) {
    this.wanted = variant ?? null;
    const { name, vendor, architecture, description } = adapter;
    this.device = JSON.stringify([name, vendor, architecture, description, profile]);
    if (choices) this.replace(choices);
  }

  get size(): number {
    return this.names.size;
  }

  /** How many choices are of kernels or variants that there are not: those of another version. They are not used. */
  get unknown(): number {
    const exists = ([key, name]: [string, string]): boolean =>
      TUNED.some(({ id, variants }) => key.startsWith(`${id} `) && variants.includes(name));
    return [...this.names].filter((choice) => !exists(choice)).length;
  }

  /** The variant for a problem that the engine's options want, or that was chosen; null for the default. */
  find<Problem extends object>(kernel: Kernel<Problem> | VariantKernel<Problem>, problem: Problem): string | null {
    if (!('variants' in kernel) || 'variant' in problem) return null;
    const { wanted, profile } = this;
    if (wanted !== null && kernel.has(wanted, problem, profile)) return wanted;
    if (!kernel.tuning || (this.names.size === 0 && !this.asked)) return null;
    const key = `${kernel.id} ${JSON.stringify(problem)}`;
    if (this.asked) {
      const count = (this.asked.get(key)?.count ?? 0) + 1;
      this.asked.set(key, { kernel: kernel as unknown as VariantKernel<object>, problem, key, count });
    }
    const name = this.names.get(key);
    if (name === undefined) return null;
    let variant = this.found.get(key);
    if (variant === undefined) {
      variant = kernel.has(name, problem, profile) ? name : null;
      this.found.set(key, variant);
    }
    return variant;
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

  /** Chooses, for a problem that was asked for, the variant of this name, if there is one (any more). */
  adopt({ kernel, problem, key }: Asked, name: string): boolean {
    const exists = kernel.has(name, problem, this.profile);
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
