/**
 * Dawn's Node bindings poll: while a promise of theirs is pending, a native callback queues itself again through
 * `globalThis.setImmediate` and keeps a core at 100 %, which a software adapter would rather compute with. Here that
 * callback (and no other) is slowed down: a few immediate polls for quick answers, then short sleeps, then a timer.
 */
const SPINS = 20;
const SLEEPS = 40;
const SLEEP_MS = 0.1;
const TIMER_MS = 1;

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
  let queued = false;
  // A poll that does not queue the next one has found everything done: what is waited for after that is a new wait.
  const poll = (callback: (...args: unknown[]) => void, args: unknown[]): void => {
    queued = false;
    callback(...args);
    if (!queued) polls = 0;
  };
  const gentle = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown => {
    if (!isNativePoll(callback)) return original(callback, ...args);
    queued = true;
    polls++;
    if (polls <= SPINS) return original(poll, callback, args);
    if (polls <= SPINS + SLEEPS) {
      return original(() => {
        Atomics.wait(cell, 0, 0, SLEEP_MS);
        poll(callback, args);
      });
    }
    return setTimeout(poll, TIMER_MS, callback, args);
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
