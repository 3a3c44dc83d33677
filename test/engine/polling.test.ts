import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MockInstance } from 'vitest';
import { installPolling } from '../../engine/node/polling.ts';

/** As Dawn's callback looks from outside: no name, native code. It queues itself again until `waits` polls have found nothing. */
function nativePoll(waits: number): { poll: () => void; done: Promise<void> } {
  let finish: () => void;
  const done = new Promise<void>((resolve) => (finish = resolve));
  let left = waits;
  const poll = function (): void {
    if (left-- > 0) setImmediate(poll);
    else finish();
  }.bind(null);
  Object.defineProperty(poll, 'name', { value: '' });
  return { poll, done };
}

describe('polling for the GPU', () => {
  let uninstall: () => void;
  let timers: MockInstance<typeof setTimeout>;
  beforeEach(() => {
    uninstall = installPolling();
    timers = vi.spyOn(globalThis, 'setTimeout');
  });
  afterEach(() => {
    timers.mockRestore();
    uninstall();
  });
  const timersOf = async (waits: number): Promise<number> => {
    timers.mockClear();
    const { poll, done } = nativePoll(waits);
    setImmediate(poll);
    await done;
    return timers.mock.calls.length;
  };

  it('goes over to a timer in a long wait', async () => {
    // 20 polls at once and 40 after a sleep each; the first of them started the wait.
    expect(await timersOf(59)).toBe(0);
    expect(await timersOf(69)).toBe(10);
  });

  it('begins each wait anew, also right after a long one', async () => {
    await timersOf(69);
    expect(await timersOf(5)).toBe(0);
    expect(await timersOf(59)).toBe(0);
  });

  it('leaves other callbacks alone', async () => {
    let calls = 0;
    for (let i = 0; i < 100; i++) await new Promise<void>((resolve) => setImmediate(() => resolve(void calls++)));
    expect(calls).toBe(100);
    expect(timers).not.toHaveBeenCalled();
  });
});
