/** Node only. One process a folder. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DeitError } from '../../../engine/index.ts';
import { tryLockFile } from './file-lock.ts';

/** Locked by the operating system while a run writes. Killed runs leave it behind, unlocked. */
export const LOCK = 'run.lock';
/** Stands for the lock where the file system has none. */
export const MARK = 'run.owner';

/** Milliseconds between the signs of life of an owner, and the time without one after which it counts as gone. */
const BEAT_MS = 5_000;
const WATCH_MS = 30_000;

/** What a lock file says of its owner, for messages, and for machines that do not see each other's locks. */
interface Owner {
  readonly pid: number;
  readonly host: string;
  /** Differs from start to start of a machine; containers on one machine share it. Empty where the system has none. */
  readonly boot: string;
  readonly since: string;
}

export interface LockOptions {
  /** How long an owner on another machine is watched for signs of life. */
  readonly watchMs?: number;
  /** How long the lock is tried for: an owner that was killed takes a moment to be gone. Default 0. */
  readonly patienceMs?: number;
}

/** Milliseconds between tries. */
const RETRY_MS = 20;

/**
 * Makes this process the only owner of `folder` until the returned function is called. The lock is the operating system's
 * (OFD on Linux, BSD on macOS, LockFileEx on Windows): it goes with its process however that ends, so a stale one needs no
 * taking over, and neither process numbers that are used again nor containers that number processes by themselves matter.
 * Throws `file-unwritable` where the folder has another owner.
 */
export function lockFolder(folder: string, { watchMs = WATCH_MS, patienceMs = 0 }: LockOptions = {}): () => void {
  const path = join(folder, LOCK);
  const last = performance.now() + patienceMs;
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o666);
    let lock: ReturnType<typeof tryLockFile> = 'taken';
    const close = (): void => {
      closeSync(fd);
      if (typeof lock === 'object') lock.release();
    };
    try {
      lock = tryLockFile(fd, path);
      if (lock === 'unsupported') return markFolder(folder, fd);
      if (lock === 'taken' && performance.now() < last) {
        close();
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
        continue;
      }
      if (lock === 'taken') throw refusal(folder, readOwner(fd));
      // An owner that ended in between has removed the file: what was locked is no longer the one that others will find.
      if (!isAt(fd, path)) {
        close();
        continue;
      }
      const before = readOwner(fd);
      if (before && isElsewhere(before) && showsLife(path, watchMs)) throw refusal(folder, before);
    } catch (error) {
      close();
      throw error;
    }
    ftruncateSync(fd, 0);
    writeSync(fd, self(), 0);
    const beat = setInterval(() => signOfLife(fd), BEAT_MS).unref();
    return () => {
      clearInterval(beat);
      // First the file, then the lock on it: whoever gets the lock finds that the file is gone, and makes a new one.
      rmSync(path, { force: true });
      close();
    };
  }
}

function signOfLife(fd: number): void {
  try {
    futimesSync(fd, new Date(), new Date());
  } catch {
    // The lock stays; only whoever cannot see it would miss this.
  }
}

/** Without locks: a file that only one process can make. One that a killed run left is never taken over by itself. */
function markFolder(folder: string, lock: number): () => void {
  const path = join(folder, MARK);
  try {
    const fd = openSync(path, 'wx');
    writeSync(fd, self());
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw refusal(folder, parseOwner(readFileSync(path, 'utf8')), path);
  }
  closeSync(lock);
  return () => {
    rmSync(path, { force: true });
    rmSync(join(folder, LOCK), { force: true });
  };
}

function refusal(folder: string, owner: Owner | null, mark?: string): DeitError {
  const fix = 'wait for it or end it, or choose another folder with --output';
  return new DeitError('file-unwritable', 'Another run is writing to this folder.', {
    where: folder,
    found: owner ? `process ${owner.pid} on ${owner.host}, since ${owner.since}` : 'another process',
    fix: mark === undefined ? fix : `${fix}; this file system has no locks: if that run was killed, remove ${mark}`,
  });
}

function isAt(fd: number, path: string): boolean {
  const [own, there] = [fstatSync(fd), statSync(path, { throwIfNoEntry: false })];
  return there !== undefined && own.ino === there.ino && own.dev === there.dev;
}

/** Whether the owner runs on a machine whose locks may not be seen here (network file systems without lock service). */
const isElsewhere = ({ host, boot }: Owner): boolean => host !== hostname() && (boot === '' || boot !== bootId());

/** Watches the times of the lock file, which its owner sets anew. By opening it, since network file systems keep old times. */
function showsLife(path: string, watchMs: number): boolean {
  const time = (): number => {
    const fd = openSync(path, 'r');
    try {
      return fstatSync(fd).mtimeMs;
    } finally {
      closeSync(fd);
    }
  };
  const first = time();
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (const end = performance.now() + watchMs; performance.now() < end;) {
    Atomics.wait(cell, 0, 0, watchMs / 20);
    if (time() !== first) return true;
  }
  return false;
}

const self = (): string =>
  JSON.stringify({ pid: process.pid, host: hostname(), boot: bootId(), since: new Date().toISOString() });

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

function readOwner(fd: number): Owner | null {
  const bytes = Buffer.alloc(4096);
  return parseOwner(bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0)));
}

/** Null where nothing sensible is said: the owner may be about to write it. */
function parseOwner(text: string): Owner | null {
  try {
    const { pid, host, boot, since } = JSON.parse(text) as Record<keyof Owner, unknown>;
    if (typeof pid !== 'number' || typeof since !== 'string') return null;
    return typeof host === 'string' && typeof boot === 'string' ? { pid, host, boot, since } : null;
  } catch {
    return null;
  }
}
