/** Node only. Ranks that do not outlive their launcher. */
import { startThread } from '../../thread.ts';
import { launcherProcess } from './launcher-process.ts';

/** What the thread that watches is told. */
export interface Watched {
  readonly parent: number;
  /** Null where the launcher was not found: the parent alone is watched. */
  readonly launcher: number | null;
}

/**
 * Ends this process, within a second or two, when its parent or launcher is gone: nobody would pass on its output, nor end it when
 * others fail. Open MPI does so itself once it is initialized; ranks of MPICH would stay, and spin where they initialize. A thread
 * watches, since this one is inside of MPI meanwhile.
 */
export function endWithLauncher(): void {
  const watched: Watched = { parent: process.ppid, launcher: launcherProcess()?.pid ?? null };
  startThread(import.meta.url, 'launcher-watch', { workerData: watched }).unref();
}
