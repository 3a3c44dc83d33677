import { regionsOf } from './commands.ts';
import type { Command } from './commands.ts';
import { planMemory } from './memory-plan.ts';
import type { Lifetime, MemoryPlan } from './memory-plan.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { PhysicalBuffer, Storage } from './storage.ts';

/** The memory that a list of commands works in. */
export interface Placement {
  readonly physical: ReadonlyMap<Storage, PhysicalBuffer>;
  /** Buffers that transient storages share. */
  readonly slots: readonly PhysicalBuffer[];
  readonly kept: ReadonlyMap<Storage, PhysicalBuffer>;
  /** Of the transient storages, for the account of how good the plan is. */
  readonly lifetimes: readonly Lifetime[];
}

/**
 * Gives every storage of a list a buffer: kept ones their own, transient ones a slot shared by lifetime. Throws
 * `out-of-memory` or `limit-exceeded`, having taken nothing from the pool.
 */
export function place(commands: readonly Command[], pool: BufferPool, debug: boolean): Placement {
  const lifetimes = new Map<Storage, { bytes: number; first: number; last: number; where: string }>();
  const kept = new Map<Storage, PhysicalBuffer>();
  const acquired: Storage[] = [];
  const slots: PhysicalBuffer[] = [];
  try {
    commands.forEach((command, index) => {
      for (const { storage } of regionsOf(command)) {
        if (storage.kept) {
          if (!storage.physical) {
            pool.acquireKept(storage);
            acquired.push(storage);
          }
          kept.set(storage, storage.physical!);
          continue;
        }
        const lifetime = lifetimes.get(storage);
        if (lifetime) lifetime.last = index;
        else {
          // Host data is written before the list starts, so its storage is taken from the beginning.
          const first = command.kind === 'write' ? 0 : index;
          const where = command.kind === 'dispatch' ? command.where : 'a tensor made from host data';
          lifetimes.set(storage, { bytes: storage.bytes, first, last: index, where });
        }
      }
    });
    const ordered = [...lifetimes.values()];
    const plan = debug ? separately(ordered) : planMemory(ordered);
    const firstUser = plan.slotBytes.map((_, slot) => ordered[plan.slots.indexOf(slot)].where);
    plan.slotBytes.forEach((bytes, slot) => {
      const user = firstUser[slot];
      slots.push(debug ? pool.acquirePoisoned(bytes, user) : pool.acquire(bytes, user));
    });
    const physical = new Map<Storage, PhysicalBuffer>(kept);
    [...lifetimes.keys()].forEach((storage, i) => physical.set(storage, slots[plan.slots[i]]));
    return { physical, slots, kept, lifetimes: ordered };
  } catch (error) {
    for (const slot of slots) giveBack(slot, pool, debug);
    for (const storage of acquired) pool.releaseKept(storage);
    throw error;
  }
}

/** The list that a slot was for has been handed over: lists run in order, so the next may have it. In debug mode none may. */
export function giveBack(slot: PhysicalBuffer, pool: BufferPool, debug: boolean): void {
  if (!debug) pool.release(slot);
  // A recording was just made of those that are pinned: they are its own from now on.
  else if (slot.pins === 0) pool.discard(slot);
}

/** No two lifetimes share memory. */
const separately = (lifetimes: readonly Lifetime[]): MemoryPlan => ({
  slots: lifetimes.map((_, i) => i),
  slotBytes: lifetimes.map(({ bytes }) => bytes),
});
