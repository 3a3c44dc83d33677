/** Numbers that ranks add up or compare: MPI has their types. */
export type Numbers = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** How long a rank's collectives have taken so far, in seconds. */
export interface CollectiveTime {
  /** Waiting for ranks that were not there yet. */
  waiting: number;
  /** Moving and adding up, once all were there. */
  moving: number;
}

/**
 * The processes (ranks) of a run, and what they say to each other. Every method that returns a promise is a collective:
 * all ranks call the same ones in the same order. Calls queue up; arguments are left alone until the promise resolves.
 * With one process, which is what `oneProcess` is, all of them have nothing to do, so that no other code asks.
 */
export interface Communicator {
  /** This process, from 0. */
  readonly rank: number;
  readonly size: number;
  /** This process among those of its machine, from 0, and how many these are. */
  readonly localRank: number;
  readonly localSize: number;
  readonly time: Readonly<CollectiveTime>;
  /** Replaces `values` by their sums over all ranks, the same bits on every rank. */
  sum(values: Numbers): Promise<void>;
  /** Replaces `values` by the largest of all ranks. */
  max(values: Numbers): Promise<void>;
  /** Replaces `bytes` by those of rank `root` (default 0). */
  broadcast(bytes: Uint8Array<ArrayBuffer>, root?: number): Promise<void>;
  /** Fills `all` with the `part` of every rank, in order; all parts have the same length. */
  allGather(part: Uint8Array<ArrayBuffer>, all: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Cuts `parts` into as many equal parts as there are ranks; `received` gets from every rank, in order, the part for this one. */
  allToAll(parts: Uint8Array<ArrayBuffer>, received: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Resolves when all ranks are here. Waits gently: a waiting rank leaves its core to the others. */
  barrier(): Promise<void>;
  /**
   * To be called by a rank that has failed, instead of any collective: resolves to whether all ranks have, after a second or two
   * at the latest. What all meet alike, such as a mistake in the recipe, is then told once.
   */
  allFailed(): Promise<boolean>;
  /** Ends all ranks at once, this one included, also where collectives are under way. */
  abort(exitCode: number): never;
  /** The orderly end: all ranks come here. */
  close(): Promise<void>;
}

/** A run in one process. */
export const oneProcess: Communicator = {
  rank: 0,
  size: 1,
  localRank: 0,
  localSize: 1,
  time: { waiting: 0, moving: 0 },
  sum: () => Promise.resolve(),
  max: () => Promise.resolve(),
  broadcast: () => Promise.resolve(),
  allGather: (part, all) => {
    all.set(part);
    return Promise.resolve();
  },
  allToAll: (parts, received) => {
    received.set(parts);
    return Promise.resolve();
  },
  barrier: () => Promise.resolve(),
  allFailed: () => Promise.resolve(true),
  abort: (exitCode) => {
    // The browser has no process to end.
    throw new Error(`aborted with exit code ${exitCode}`);
  },
  close: () => Promise.resolve(),
};

/** What every rank says, in order. Texts may differ in length. */
export async function gatherTexts(ranks: Communicator, text: string): Promise<string[]> {
  const own = new TextEncoder().encode(text);
  const longest = new Float64Array([own.length]);
  await ranks.max(longest);
  const stride = 4 + longest[0];
  const part = new Uint8Array(stride);
  new DataView(part.buffer).setUint32(0, own.length);
  part.set(own, 4);
  const all = new Uint8Array(stride * ranks.size);
  await ranks.allGather(part, all);
  return Array.from({ length: ranks.size }, (_, rank) => {
    const begin = rank * stride;
    const length = new DataView(all.buffer).getUint32(begin);
    return new TextDecoder().decode(all.subarray(begin + 4, begin + 4 + length));
  });
}

/** The bytes of rank 0; those of the others do not matter. */
export async function shareBytes(ranks: Communicator, own: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const length = new Float64Array([ranks.rank === 0 ? own.length : 0]);
  await ranks.max(length);
  const bytes = ranks.rank === 0 ? own : new Uint8Array(length[0]);
  await ranks.broadcast(bytes);
  return bytes;
}

/** A value of rank 0, which must be plain data; those of the others do not matter. */
export async function shareValue<Value>(ranks: Communicator, value: Value): Promise<Value> {
  if (ranks.size === 1) return value;
  const bytes = await shareBytes(ranks, new TextEncoder().encode(ranks.rank === 0 ? JSON.stringify(value) : ''));
  return ranks.rank === 0 ? value : (JSON.parse(new TextDecoder().decode(bytes)) as Value);
}

/** Whether any rank says yes. */
export async function anyRank(ranks: Communicator, says: boolean): Promise<boolean> {
  const flag = new Float32Array([says ? 1 : 0]);
  await ranks.max(flag);
  return flag[0] > 0;
}
