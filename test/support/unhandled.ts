import { setImmediate as nextTurn } from 'node:timers/promises';

/** Rejections that nobody listens to, of what `work` does: they end a program. */
export async function unhandled(work: () => unknown): Promise<unknown[]> {
  const found: unknown[] = [];
  const others = process.rawListeners('unhandledRejection') as ((reason: unknown) => void)[];
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', (reason) => found.push(reason));
  try {
    await work();
    await nextTurn();
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const listener of others) process.on('unhandledRejection', listener);
  }
  return found;
}
