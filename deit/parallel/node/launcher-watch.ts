/** Body of the thread that watches this process's launcher. Started by end-with-launcher.ts; Node only. */
import { workerData } from 'node:worker_threads';
import type { Watched } from './end-with-launcher.ts';
import { launcherProcess } from './launcher-process.ts';

const EVERY_MS = 500;
/** Looks in a row that have to miss it: a process may end while it is read. */
const MISSES = 2;

const { parent, launcher } = workerData as Watched;
let misses = 0;
setInterval(() => {
  // Whose parent is gone gets another, so that a number which is used again is not taken for it.
  const isThere = process.ppid === parent && (launcherProcess()?.pid ?? null) === launcher;
  misses = isThere ? 0 : misses + 1;
  // Nothing gentler ends a process that waits inside of MPI.
  if (misses === MISSES) process.kill(process.pid, 'SIGKILL');
}, EVERY_MS);
