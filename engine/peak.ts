import { arithmeticPeak, bandwidthPeak } from '../kernels/peak/index.ts';
import type { Engine } from './engine.ts';

/** What an adapter can do at best, as measured on it. */
export interface Peak {
  /** f32 operations a second, a multiply-add being two. */
  readonly flops: number;
  /** Bytes read and written a second. */
  readonly bytes: number;
}

/** A measurement is long enough when starting and ending it no longer shows. */
const LONG_ENOUGH_MS = 40;
const REPEATS = 3;
const MAX_ROUNDS = 2 ** 20;

/** Measures the practical peak of arithmetic and of memory traffic, in about half a second. Best of three. */
export async function measurePeak(engine: Engine): Promise<Peak> {
  const workgroups = engine.profile.cpu ? 256 : 16_384;
  const y = engine.empty([workgroups * 64 * 4]);
  const arithmetic = (rounds: number) => (): void =>
    engine.run('measurePeak', arithmeticPeak, { workgroups, rounds }, { y });
  await time(engine, arithmetic(1));
  let rounds = 64;
  let ms = await time(engine, arithmetic(rounds));
  while (ms < LONG_ENOUGH_MS && rounds < MAX_ROUNDS) {
    rounds *= Math.min(8, Math.max(2, Math.ceil(LONG_ENOUGH_MS / Math.max(ms, 1))));
    ms = await time(engine, arithmetic(rounds));
  }
  const flops = 2 * 8 * 4 * 64 * workgroups * rounds;
  const arithmeticMs = await best(engine, arithmetic(rounds));
  engine.free(y);

  // Far larger than any cache, where the memory budget leaves room for two of them.
  const room = Math.floor((engine.memoryBudget - engine.memory().totalBytes) / 4);
  const bytes = Math.min(
    engine.profile.cpu ? 2 ** 27 : 2 ** 28,
    engine.profile.maxBindingSize,
    Math.max(2 ** 16, room),
  );
  const vectors = 16;
  const groups = Math.floor(bytes / (16 * vectors * 64));
  const [from, to] = [engine.zeros([groups * vectors * 64 * 4]), engine.empty([groups * vectors * 64 * 4])];
  const passes = engine.profile.cpu ? 1 : 32;
  const copy = (): void => {
    for (let i = 0; i < passes; i++) {
      engine.run('measurePeak', bandwidthPeak, { workgroups: groups, vectors }, { x: from, y: to });
    }
  };
  const copyMs = await best(engine, copy);
  engine.free(from);
  engine.free(to);
  engine.flush();
  engine.trimMemory();
  return { flops: (flops / arithmeticMs) * 1000, bytes: ((2 * 4 * from.size * passes) / copyMs) * 1000 };
}

async function best(engine: Engine, work: () => void): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < REPEATS; i++) least = Math.min(least, await time(engine, work));
  return least;
}

async function time(engine: Engine, work: () => void): Promise<number> {
  await engine.idle();
  const start = performance.now();
  work();
  await engine.idle();
  return performance.now() - start;
}
