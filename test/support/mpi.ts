import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundled } from '../../bench/bundled.ts';
import { onPath } from './programs.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Mpi {
  readonly name: 'Open MPI' | 'MPICH';
  readonly mpirun: string;
  /** Flags for any number of ranks on any machine, also as root in a container. */
  readonly flags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** Open MPI, as Debian's openmpi-bin brings it. */
export function findOpenMpi(): Mpi | null {
  const mpirun = onPath('mpirun.openmpi');
  return mpirun === null
    ? null
    : {
        name: 'Open MPI',
        mpirun,
        flags: ['--oversubscribe', '--bind-to', 'none'],
        environment: {
          OMPI_ALLOW_RUN_AS_ROOT: '1',
          OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
          // Containers forbid reading another process's memory.
          OMPI_MCA_btl_vader_single_copy_mechanism: 'none',
        },
      };
}

/** MPICH, as the package `mpich` of PyPI brings it: MPICH_HOME names its virtual environment, else the one that .ci/run makes. */
export function findMpich(): Mpi | null {
  const mpirun = join(process.env.MPICH_HOME ?? join(homedir(), '.cache/deit-webgpu/mpich'), 'bin', 'mpirun');
  return existsSync(mpirun) ? { name: 'MPICH', mpirun, flags: [], environment: {} } : null;
}

export const mpichLibrary = (mpi: Mpi, name: string): string => join(dirname(dirname(mpi.mpirun)), 'lib', name);

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
  /** Seconds from when standard error last held this text anew to the end. */
  sinceLast(text: string): number;
}

export interface RankOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** After which the launcher is ended, and with it all ranks. */
  readonly seconds?: number;
}

/** Runs a TypeScript program on every rank. */
export async function runRanks(
  mpi: Mpi,
  count: number,
  program: string,
  args: readonly string[] = [],
  { environment = {}, cwd = root, seconds = 100 }: RankOptions = {},
): Promise<Ended> {
  const node = [process.execPath, await bundled(program), ...args];
  const start = performance.now();
  const child = spawn(mpi.mpirun, [...mpi.flags, '-n', String(count), ...node], {
    cwd,
    env: { ...process.env, ...mpi.environment, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 1000 * seconds);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  const heard: [at: number, length: number][] = [];
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    heard.push([performance.now(), stderr.length]);
  });
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      const end = performance.now();
      const sinceLast = (text: string): number => {
        const [at = start] = heard.find(([, length]) => length > stderr.lastIndexOf(text)) ?? [];
        return (end - at) / 1000;
      };
      resolve({ code, stdout, stderr, seconds: (end - start) / 1000, sinceLast });
    });
  });
}

/** The lines of JSON that ranks printed, by rank. */
export const linesOf = <Line extends { rank: number }>({ stdout }: Ended): Line[] =>
  stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line)
    .sort((a, b) => a.rank - b.rank);
