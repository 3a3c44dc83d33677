/** Node only. The launcher's own process, among the ancestors of this one. */
import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

/** mpirun, or what it starts on every machine to start the ranks there: of Open MPI, of MPICH and Intel MPI. */
const LAUNCHERS = /^(orterun|mpirun|mpiexec|orted|prted|prterun|hydra_pmi_proxy|hydra_bstrap_proxy|mpiexec\.hydra)$/;
/** More than any chain of scripts and package runners between a launcher and a rank. */
const DEEPEST = 16;

export interface LauncherProcess {
  readonly pid: number;
  /** Path of its program. */
  readonly program: string;
}

/** The nearest launcher among this process's ancestors; null where there is none, or the system does not tell. */
export function launcherProcess(): LauncherProcess | null {
  try {
    for (let pid = process.ppid, depth = 0; pid > 0 && depth < DEEPEST; depth++) {
      const program = readlinkSync(`/proc/${pid}/exe`);
      if (LAUNCHERS.test(basename(program))) return { pid, program };
      pid = Number(processStatus(pid)[1]);
    }
  } catch {
    // No /proc, or somebody else's process.
  }
  return null;
}

/**
 * What Linux says of a process: its state, its parent's number, and the other fields of proc_pid_stat(5) from the third on. Throws
 * where there is no such process.
 */
export function processStatus(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // After the name in parentheses, which may hold anything.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
