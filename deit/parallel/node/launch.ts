/** Node only. Starts this very command once more, on several processes of this machine, by the MPI launcher that is there. */
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { DeitError } from '../../../engine/index.ts';

export interface Launcher {
  readonly program: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** `mpirun` on the path, or what DEIT_MPIRUN names, with what `count` processes on this machine need. Throws `no-mpi`. */
export function findLauncher(count: number, environment = process.env): Launcher {
  const program = environment.DEIT_MPIRUN ?? 'mpirun';
  const { error, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', env: environment });
  if (error) {
    throw new DeitError('no-mpi', 'The processes are started by an MPI launcher, and there is none.', {
      where: program,
      found: error.message,
      fix: 'install one (Debian: apt-get install openmpi-bin openssh-client), or name it, for example DEIT_MPIRUN=/opt/mpi/bin/mpirun',
    });
  }
  const number = ['-n', String(count)];
  if (!/Open MPI|OpenRTE|PRTE/.test(stdout)) return { program, args: number, environment: {} };
  // As many as were asked for, also where there are fewer cores, each free to use them all.
  const args = ['--oversubscribe', '--bind-to', 'none', ...number];
  // Whoever is root here, in a container say, has asked for it.
  const asRoot = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
  return { program, args, environment: process.getuid?.() === 0 ? asRoot : {} };
}

/**
 * Runs this program, with the arguments `own`, on `count` processes of this machine; resolves to its exit code. Signals that
 * ask for an end become the one that all launchers pass on, so that the ranks save before they end; a second one ends them.
 */
export async function runOnProcesses(count: number, own: readonly string[]): Promise<number> {
  const { program, args, environment } = findLauncher(count);
  const command = [process.execPath, ...process.execArgv, process.argv[1], ...own];
  const child = spawn(program, [...args, ...command], {
    // A session of its own: the terminal's Ctrl-C would have the launcher kill the ranks.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  let asked = 0;
  const pass = (): void => void child.kill(asked++ === 0 ? 'SIGUSR2' : 'SIGTERM');
  const signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'];
  for (const signal of signals) process.on(signal, pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
    });
  } finally {
    for (const signal of signals) process.off(signal, pass);
  }
}
