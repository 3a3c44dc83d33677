/**
 * Dawn's Node bindings poll: while a promise of theirs is pending, a native callback queues itself again through
 * `globalThis.setImmediate` and keeps a core at 100 %, which a software adapter would rather compute with. Here that
 * callback (and no other) is slowed down: a few immediate polls for quick answers, then short sleeps, then a timer.
 */
const SPINS = 20;
const SLEEPS = 40;
const SLEEP_MS = 0.1;
const TIMER_MS = 1;
/** A pause in the polling after which the next wait counts as a new one. */
const NEW_WAIT_MS = 5;

let uninstall: (() => void) | null = null;
let users = 0;

/** Installs the gentler polling; call the returned function to take it down again. */
export function installPolling(): () => void {
  users++;
  uninstall ??= install();
  let released = false;
  return () => {
    if (released) return;
    released = true;
    if (--users > 0) return;
    uninstall?.();
    uninstall = null;
  };
}

function install(): () => void {
  const original = globalThis.setImmediate;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let polls = 0;
  let last = 0;
  const gentle = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown => {
    if (!isNativePoll(callback)) return original(callback, ...args);
    const now = performance.now();
    if (now - last > NEW_WAIT_MS) polls = 0;
    last = now;
    polls++;
    if (polls <= SPINS) return original(callback, ...args);
    if (polls <= SPINS + SLEEPS) {
      return original(() => {
        Atomics.wait(cell, 0, 0, SLEEP_MS);
        callback(...args);
      });
    }
    return setTimeout(callback, TIMER_MS, ...args);
  };
  globalThis.setImmediate = Object.assign(gentle, original);
  return () => {
    globalThis.setImmediate = original;
  };
}

const isNativePoll = (callback: unknown): boolean =>
  typeof callback === 'function' &&
  callback.name === '' &&
  Function.prototype.toString.call(callback).includes('[native code]');
