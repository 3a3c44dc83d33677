/** Node only. The operating system's lock on a file. */
import { tryLock } from 'fs-native-extensions';

/** Windows keeps others from reading what is locked: there a byte beyond the content is. */
const RANGE: readonly number[] = process.platform === 'win32' ? [2 ** 30, 1] : [];

/** Deno's own files have locks; the package's need a part of libuv that Deno lacks, and end the process. */
interface Deno {
  openSync(path: string, options: { write: boolean }): { tryLockSync(exclusive: boolean): boolean; close(): void };
}

/** `unsupported` where the file system has no locks. What the lock itself needs goes with `release`; closing `fd` is the caller's. */
export function tryLockFile(fd: number, path: string): { release: () => void } | 'taken' | 'unsupported' {
  const { Deno: deno } = globalThis as { Deno?: Deno };
  try {
    if (!deno) return tryLock(fd, ...RANGE) ? { release: () => undefined } : 'taken';
    const file = deno.openSync(path, { write: true });
    if (file.tryLockSync(true)) return { release: () => file.close() };
    file.close();
    return 'taken';
  } catch (error) {
    if (['ENOLCK', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return 'unsupported';
    throw error;
  }
}
