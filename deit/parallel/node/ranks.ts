/** Node only. The ranks that this process is one of. */
import { DeitError } from '../../../engine/index.ts';
import { oneProcess } from '../communicator.ts';
import type { Communicator } from '../communicator.ts';
import { endWithLauncher } from './end-with-launcher.ts';
import { detectLaunch, libraryCandidates } from './launcher.ts';
import type { Launch } from './launcher.ts';
import { loadMpi } from './library.ts';
import type { MpiLibrary } from './library.ts';
import { MpiRanks } from './mpi.ts';

/** Candidates for the library: the one that DEIT_MPI names, or those that fit the launcher. */
const candidates = (launch: Launch | null): string[] => {
  const named = process.env.DEIT_MPI;
  return named ? [named] : libraryCandidates(launch);
};

let opened: Promise<Communicator> | null = null;

/**
 * The ranks of this launch; `oneProcess` where nothing launched several, or DEIT_MPI is `off`. MPI is loaded then alone.
 * Throws `no-mpi` where no library can be loaded or it belongs to another MPI than the launcher.
 */
export function openRanks(): Promise<Communicator> {
  return (opened ??= open());
}

async function open(): Promise<Communicator> {
  const launch = detectLaunch();
  if (!launch || process.env.DEIT_MPI === 'off') return oneProcess;
  endWithLauncher();
  const library = await loadMpi(candidates(launch));
  // Another MPI than the launcher's may end the process while it initializes itself, or take itself for the only one.
  const isOpenMpi = library.version.startsWith('Open MPI');
  if (launch.launcher !== 'Slurm' && isOpenMpi !== (launch.launcher === 'Open MPI')) throw otherMpi(launch, library);
  const ranks = new MpiRanks(library);
  if (ranks.size === launch.size) return ranks;
  throw otherMpi(launch, library);
}

/** The library of this machine, or of the launcher, without using it: for `deit doctor`. */
export const findMpi = (): Promise<MpiLibrary> => loadMpi(candidates(detectLaunch()));

function otherMpi(launch: Launch, library: MpiLibrary): DeitError {
  return new DeitError('no-mpi', 'The run was launched by another MPI than the library that was loaded.', {
    where: `rank ${launch.rank}`,
    expected: `${launch.size} ranks, launched by ${launch.launcher}`,
    found: `${library.version} (${library.path})`,
    fix:
      launch.launcher === 'Slurm'
        ? 'choose what the library needs with srun --mpi=pmix (Open MPI) or --mpi=pmi2 (MPICH, Intel MPI), or name the other library with DEIT_MPI'
        : 'use the mpirun that belongs to the library, or name the library that belongs to the mpirun with DEIT_MPI',
  });
}
