import { DeitError } from '../kernels/lib/errors.ts';
import type { Allocation } from '../kernels/lib/kernel.ts';
import { Purpose } from '../kernels/lib/philox.ts';
import type { Engine } from './engine.ts';
import { sub } from './ops/binary.ts';
import { to } from './ops/cast.ts';
import { randomUniform } from './ops/random.ts';
import { sum } from './ops/reduce.ts';
import { square } from './ops/unary.ts';
import type { Tensor } from './tensor.ts';
import type { Asked } from './variants.ts';

export interface TuneOptions {
  /** Seconds after which no further variant is measured; 30 if left out. What was not reached keeps its default. */
  seconds?: number;
  /** Most variants of a problem that are measured, the default among them; 8 if left out. */
  variants?: number;
  /** A clock in milliseconds. */
  now?: () => number;
  /** Milliseconds that the GPU takes for what `record` records; by timestamps where the adapter has them, else by the clock. */
  time?: (record: () => void, variant: string) => Promise<number>;
}

/** What one variant took. */
export interface MeasuredVariant {
  readonly name: string;
  /** Milliseconds; null where it was given up: it does not compile, or its results differ. */
  readonly ms: number | null;
}

/** One problem, measured: the default first. */
export interface Measured {
  readonly what: string;
  /** How often the work has it. */
  readonly count: number;
  readonly variants: readonly MeasuredVariant[];
  readonly chosen: MeasuredVariant & { readonly ms: number };
  readonly usual: MeasuredVariant & { readonly ms: number };
}

export interface TuningReport {
  readonly measured: readonly Measured[];
  /** Problems whose variant was known before. */
  readonly known: number;
  /** Problems that the time or the memory did not suffice for. */
  readonly left: number;
  readonly seconds: number;
}

/** A variant has to take less than this part of the default's time to replace it: in the median, and at its best. */
const CLEARLY = 0.95;
/** Variants slower than the fastest by this factor are not measured again. */
const HOPELESS = 1.3;
const ROUNDS = 5;
/** Samples shorter than this are repeated runs: timestamps may be coarse. */
const SAMPLE_MS = 2;
const MOST_RUNS = 64;
/** Problems with less than this part of all arithmetic are not worth compiling anything for. */
const NEGLIGIBLE = 0.001;

/**
 * Measures, on this adapter, the variants for each problem of `work` for which none has been chosen, and has the
 * engine use the fastest from then on. `work` records a forward pass, or forward and backward, of which nothing is run;
 * or it is what `engine.variants.collect` found. Variants whose results differ from the default's by more than rounding are
 * not chosen. Heaviest problems come first, until the time is up.
 */
export async function tune(
  engine: Engine,
  work: (() => void) | readonly Asked[],
  options: TuneOptions = {},
): Promise<TuningReport> {
  const now = options.now ?? (() => performance.now());
  const start = now();
  const deadline = start + 1000 * (options.seconds ?? 30);
  const asked = typeof work === 'function' ? await engine.variants.collect(() => engine.compile(work)) : work;
  const several = asked.filter(({ kernel, problem }) => kernel.candidates(problem, engine.profile).length > 1);
  const weight = ({ kernel, problem, count }: Asked): number => count * kernel.tuning!.flops(problem);
  const least = NEGLIGIBLE * several.reduce((total, one) => total + weight(one), 0);
  const open = several.filter((one) => !engine.variants.has(one.key) && weight(one) >= least);
  open.sort((one, other) => weight(other) - weight(one));
  const measured: Measured[] = [];
  for (const one of open) {
    if (now() >= deadline) break;
    const found = await measure(engine, one, options, () => now() >= deadline);
    if (!found) continue;
    engine.variants.choose(one.key, found.chosen.name);
    measured.push(found);
  }
  return {
    measured,
    known: several.filter(({ key }) => engine.variants.has(key)).length - measured.length,
    left: open.length - measured.length,
    seconds: (now() - start) / 1000,
  };
}

/** One line for people. */
export function describeTuning({ measured, known, left, seconds }: TuningReport): string {
  const better = measured.filter(({ chosen, usual }) => chosen.name !== usual.name);
  const total = (of: (one: Measured) => number): number => measured.reduce((sum, one) => sum + one.count * of(one), 0);
  const gain = total(({ usual }) => usual.ms) / total(({ chosen }) => chosen.ms);
  const notes = [
    `${measured.length} problems measured in ${seconds.toFixed(1)} s`,
    `${better.length} faster by another variant${better.length > 0 ? ` (${gain.toFixed(2)}x on all that were measured)` : ''}`,
    ...(known > 0 ? [`${known} known before`] : []),
    ...(left > 0 ? [`${left} left as they are: the time or the memory was up`] : []),
  ];
  return notes.join(', ');
}

/** Null if time or memory ran out before there was an answer. */
async function measure(
  engine: Engine,
  { kernel, problem, count }: Asked,
  options: TuneOptions,
  isOver: () => boolean,
): Promise<Measured | null> {
  const tuning = kernel.tuning!;
  const scratch: Tensor[] = [];
  const variants = kernel.candidates(problem, engine.profile).slice(0, options.variants ?? 8);
  const make = ({ elements, dtype = 'f32' }: Allocation): Tensor => {
    const tensor = engine.empty([elements], dtype).keep('tuner');
    const draw = { low: -1, high: 1, stream: scratch.length, purpose: Purpose.init };
    engine.scope(() => engine.copy(to(randomUniform(engine, [elements], draw), dtype), tensor));
    scratch.push(tensor);
    return tensor;
  };
  try {
    const tensors = Object.fromEntries(
      Object.entries(tuning.tensors(problem)).map(([name, allocation]) => [name, make(allocation)]),
    );
    const trial: Trial = {
      record: (variant) => engine.run('tune', kernel, { ...problem, variant }, tensors),
      results: tuning.results.filter((name) => name in tensors).map((name) => tensors[name]),
      tolerance: tuning.tolerance(problem),
    };
    const times = await race(engine, trial, variants, scratch, options, isOver);
    if (!times) return null;
    const named = variants.map((name, i): MeasuredVariant => ({
      name,
      ms: times[i].length > 0 ? median(times[i]) : null,
    }));
    const usual = { name: variants[0], ms: median(times[0]) };
    let chosen = usual;
    times.forEach((own, i) => {
      if (own.length < ROUNDS || Math.min(...own) >= CLEARLY * Math.min(...times[0])) return;
      const ms = median(own);
      if (ms < CLEARLY * usual.ms && ms < chosen.ms) chosen = { name: variants[i], ms };
    });
    return { what: tuning.describe(problem), count, variants: named, usual, chosen };
  } catch (error) {
    if (error instanceof DeitError && error.code === 'out-of-memory') return null;
    throw error;
  } finally {
    for (const tensor of scratch) engine.free(tensor);
    engine.flush();
    engine.trimMemory();
  }
}

interface Trial {
  /** Records the problem computed by one variant. */
  readonly record: (variant: string) => void;
  readonly results: readonly Tensor[];
  readonly tolerance: number;
}

/** Samples of every variant in milliseconds (of a hopeless one a single one), none where it does not compile or differs; null if time ran out. */
async function race(
  engine: Engine,
  trial: Trial,
  variants: readonly string[],
  scratch: Tensor[],
  options: TuneOptions,
  isOver: () => boolean,
): Promise<number[][] | null> {
  const time = options.time ?? ((record) => gpuTime(engine, record));
  const copyOf = (tensor: Tensor): Tensor => {
    const copy = engine.empty(tensor.shape, tensor.dtype).keep('tuner');
    scratch.push(copy);
    engine.copy(tensor, copy);
    return copy;
  };
  const before = trial.results.map(copyOf);
  let expected: Tensor[] = [];
  const times: number[][] = variants.map(() => []);
  let fastest = Infinity;
  for (const [i, variant] of variants.entries()) {
    if (isOver()) return null;
    const record = (): void => engine.noGrad(() => trial.record(variant));
    if (await engine.compile(record)) continue;
    engine.scope(() => {
      trial.results.forEach((tensor, j) => engine.copy(before[j], tensor));
      record();
    });
    if (i === 0) expected = trial.results.map(copyOf);
    // NaN is no small difference.
    else if (!((await difference(engine, trial.results, expected)) <= trial.tolerance)) continue;
    times[i].push(await time(record, variant));
    fastest = Math.min(fastest, times[i][0]);
  }
  const runs = Math.max(1, Math.min(MOST_RUNS, Math.ceil(SAMPLE_MS / fastest)));
  const hopeful = variants.flatMap((variant, i) =>
    i === 0 || times[i][0] <= HOPELESS * fastest ? [{ variant, own: times[i] }] : [],
  );
  if (hopeful.length === 1) return times;
  // The first one was to sort out by.
  for (const { own } of hopeful) own.pop();
  // In turns, so that what else the machine does meets all alike.
  for (let round = 0; round < ROUNDS; round++) {
    for (const { variant, own } of hopeful) {
      if (isOver()) return null;
      const record = (): void =>
        engine.noGrad(() => {
          for (let run = 0; run < runs; run++) trial.record(variant);
        });
      own.push((await time(record, variant)) / runs);
    }
  }
  return times;
}

async function gpuTime(engine: Engine, record: () => void): Promise<number> {
  if (!engine.adapter.features.includes('timestamp-query')) {
    await engine.idle();
    const start = performance.now();
    engine.scope(record);
    await engine.idle();
    return performance.now() - start;
  }
  const times = await engine.timeDispatches(() => engine.scope(record));
  return times.reduce((total, { durationNs }) => total + durationNs, 0) / 1e6;
}

/** ||found - expected|| / ||expected||, the largest of all results; NaN or infinite where one of them is. */
async function difference(engine: Engine, found: readonly Tensor[], expected: readonly Tensor[]): Promise<number> {
  const norm = (x: Tensor): Promise<ArrayLike<number>> => sum(square(x)).read();
  const norms = engine.scope(() =>
    engine.noGrad(() =>
      found.flatMap((tensor, i) => {
        const [one, other] = [to(tensor, 'f32'), to(expected[i], 'f32')];
        return [norm(sub(one, other)), norm(other)];
      }),
    ),
  );
  const values = (await Promise.all(norms)).map((value) => value[0]);
  return Math.max(...found.map((_, i) => Math.sqrt(values[2 * i]) / Math.sqrt(values[2 * i + 1])));
}

function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
