import { dirname } from 'node:path';
import { launcherProcess } from './launcher-process.ts';

/** What a launcher says of the processes that it started, in their environment. */
export interface Launch {
  readonly launcher: 'Open MPI' | 'MPICH' | 'Slurm';
  readonly size: number;
  readonly rank: number;
  /** This process among those of its machine, where the launcher says so. */
  readonly localRank: number | null;
}

type Environment = Readonly<Record<string, string | undefined>>;

const whole = (text: string | undefined): number | null =>
  text !== undefined && /^\d+$/.test(text) ? Number(text) : null;

/**
 * What launched this process: mpirun of Open MPI, of MPICH or of Intel MPI (which share their variables), or srun. Null
 * for a process that nothing launched, or that is the only one. A batch script of Slurm is one process, whatever its job
 * has reserved: only what srun starts is a step of several tasks.
 */
export function detectLaunch(environment: Environment = process.env): Launch | null {
  const of = (name: string): number | null => whole(environment[name]);
  const found =
    launch('Open MPI', of('OMPI_COMM_WORLD_SIZE'), of('OMPI_COMM_WORLD_RANK'), of('OMPI_COMM_WORLD_LOCAL_RANK')) ??
    launch('Slurm', of('SLURM_STEP_NUM_TASKS'), of('SLURM_PROCID'), of('SLURM_LOCALID')) ??
    launch('MPICH', of('PMI_SIZE'), of('PMI_RANK'), of('MPI_LOCALRANKID'));
  return found && found.size > 1 ? found : null;
}

const launch = (
  launcher: Launch['launcher'],
  size: number | null,
  rank: number | null,
  localRank: number | null,
): Launch | null => (size === null || rank === null ? null : { launcher, size, rank, localRank });

const OPEN_MPI = process.platform === 'darwin' ? ['libmpi.40.dylib'] : ['libmpi.so.40'];
const MPICH = process.platform === 'darwin' ? ['libmpi.12.dylib', 'libpmpi.12.dylib'] : ['libmpi.so.12'];
const STANDARD = process.platform === 'darwin' ? ['libmpi_abi.1.dylib'] : ['libmpi_abi.so.1'];

/**
 * Libraries that fit a launcher, the likeliest first: by their names, which the system looks up, after those that lie
 * beside the launcher itself. Without a launcher, all that there may be.
 */
export function libraryCandidates(found: Launch | null, environment: Environment = process.env): string[] {
  // Slurm starts both: what it offers them to find each other by tells which of them the job was set up for.
  const byPmix = environment.PMIX_RANK !== undefined;
  const isOpenMpi = found?.launcher === 'Open MPI' || (found?.launcher === 'Slurm' && byPmix);
  const isMpich =
    found?.launcher === 'MPICH' || (found?.launcher === 'Slurm' && !byPmix && environment.PMI_RANK !== undefined);
  const names = isOpenMpi
    ? [...OPEN_MPI, ...STANDARD]
    : isMpich
      ? [...MPICH, ...STANDARD]
      : [...OPEN_MPI, ...MPICH, ...STANDARD];
  const own = launcherProcess();
  const home = own && dirname(dirname(own.program));
  const folders = home === null ? [] : [`${home}/lib`, `${home}/lib64`];
  return [...folders.flatMap((folder) => names.map((name) => `${folder}/${name}`)), ...names];
}
