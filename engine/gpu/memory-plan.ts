/** One transient storage of a command list: the commands between which it must hold its content. */
export interface Lifetime {
  readonly bytes: number;
  /** Index of the first and the last command that touches it; both inclusive. */
  readonly first: number;
  readonly last: number;
}

export interface MemoryPlan {
  /** Slot of each lifetime, in the order given. */
  readonly slots: readonly number[];
  /** Bytes of each slot: the largest storage that lives in it. */
  readonly slotBytes: readonly number[];
}

/**
 * Assigns transient storages to as few bytes as it can, so that no two that are alive at the same command share a slot.
 * Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020): the largest
 * first, each into the first slot that is free for its whole lifetime.
 */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const order = lifetimes.map((_, i) => i);
  order.sort((a, b) => lifetimes[b].bytes - lifetimes[a].bytes || lifetimes[a].first - lifetimes[b].first);
  const slots = new Array<number>(lifetimes.length);
  const slotBytes: number[] = [];
  /** Occupied intervals of each slot, ascending and disjoint. */
  const occupied: Lifetime[][] = [];
  for (const i of order) {
    const lifetime = lifetimes[i];
    let slot = 0;
    let position = -1;
    for (; slot < occupied.length; slot++) {
      position = freePosition(occupied[slot], lifetime);
      if (position >= 0) break;
    }
    if (slot === occupied.length) {
      occupied.push([]);
      slotBytes.push(lifetime.bytes);
      position = 0;
    }
    occupied[slot].splice(position, 0, lifetime);
    slots[i] = slot;
  }
  return { slots, slotBytes };
}

/** Where `lifetime` fits among disjoint ascending intervals, or -1 if it overlaps one. */
function freePosition(intervals: readonly Lifetime[], lifetime: Lifetime): number {
  let low = 0;
  let high = intervals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (intervals[middle].first < lifetime.first) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && intervals[low - 1].last >= lifetime.first) return -1;
  if (low < intervals.length && intervals[low].first <= lifetime.last) return -1;
  return low;
}

/** The least memory that any plan could use: the largest sum of storages alive at one command. */
export function peakLiveBytes(lifetimes: readonly Lifetime[]): number {
  const changes: [number, number][] = [];
  for (const { bytes, first, last } of lifetimes) changes.push([first, bytes], [last + 1, -bytes]);
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let live = 0;
  let peak = 0;
  for (const [, change] of changes) {
    live += change;
    peak = Math.max(peak, live);
  }
  return peak;
}
