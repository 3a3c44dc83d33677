import type { Communicator, Numbers } from '../../deit/parallel/communicator.ts';

/** Ranks within one process, for tests: the same promises as MPI's, kept by plain additions in the order of the ranks. */
export function ranksInProcess(size: number): Communicator[] {
  const waiting: { values: unknown; resolve: (all: unknown[]) => void }[][] = [];
  const called = new Array<number>(size).fill(0);
  /** What each rank brought to its collective of this number, once all have come. */
  const meet = <Values>(rank: number, values: Values): Promise<Values[]> => {
    const number = called[rank]++;
    const present = (waiting[number] ??= []);
    return new Promise((resolve) => {
      present[rank] = { values, resolve: resolve as (all: unknown[]) => void };
      if (Object.keys(present).length < size) return;
      const all = present.map((one) => one.values);
      for (const one of present) one.resolve(all);
    });
  };
  const combine = async (rank: number, values: Numbers, join: (a: number, b: number) => number): Promise<void> => {
    const all = await meet(rank, values.slice());
    all[0].forEach((first, i) => {
      values[i] = all.slice(1).reduce((joined, other) => {
        const both = join(joined, other[i]);
        return values instanceof Float32Array ? Math.fround(both) : both;
      }, first);
    });
  };
  return Array.from({ length: size }, (_, rank) => ({
    rank,
    size,
    localRank: rank,
    localSize: size,
    time: { waiting: 0, moving: 0 },
    sum: (values) => combine(rank, values, (a, b) => a + b),
    max: (values) => combine(rank, values, Math.max),
    broadcast: async (bytes, root = 0) => bytes.set((await meet(rank, bytes.slice()))[root]),
    allGather: async (part, all) =>
      (await meet(rank, part.slice())).forEach((own, from) => all.set(own, from * part.length)),
    allToAll: async (parts, received) => {
      const length = parts.length / size;
      (await meet(rank, parts.slice())).forEach((own, from) =>
        received.set(own.subarray(rank * length, (rank + 1) * length), from * length),
      );
    },
    barrier: async () => void (await meet(rank, null)),
    allFailed: () => Promise.resolve(false),
    abort: (exitCode) => {
      throw new Error(`rank ${rank} aborted with exit code ${exitCode}`);
    },
    close: async () => void (await meet(rank, null)),
  }));
}
