import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { detectLaunch, libraryCandidates } from '../../deit/parallel/node/launcher.ts';
import { findMpich, findOpenMpi, linesOf, mpichLibrary, runRanks } from '../support/mpi.ts';
import type { Mpi } from '../support/mpi.ts';

const openMpi = findOpenMpi();
const mpich = findMpich();

// CI has both: .ci/run installs them.
if (process.env.CI === 'true') {
  it('Open MPI is there', () => expect(openMpi).not.toBeNull());
  it('MPICH is there, where Python is', () => expect(mpich).not.toBeNull());
}

interface Heard {
  rank: number;
  size: number;
  local: number[];
  long: number[];
  doubles: number[];
  largest: number[];
  shared: boolean;
  all: number[];
  received: number[];
  texts: string[];
  any: boolean;
  value: unknown;
  waited: boolean;
}

/** What three ranks have to hear: from the definitions of the collectives, on small whole numbers, which are exact. */
const heardBy = (rank: number): Heard => ({
  rank,
  size: 3,
  local: [rank, 3],
  // The sum of rank + (i % 7) over ranks 0, 1, 2.
  long: [3, 6, 9, 12, 15, 18, 21, 3, 3 + 3 * (600_000 % 7)],
  doubles: [3, -3, 6 * 2 ** -40],
  largest: [2, 0],
  shared: true,
  all: [0, 0, 1, 10, 2, 20],
  received: [rank, 16 + rank, 32 + rank],
  texts: ['', 'x', 'xx'],
  any: true,
  value: { from: 'rank 0' },
  waited: true,
});

const collectives = async (mpi: Mpi, environment: Record<string, string> = {}): Promise<void> => {
  const ended = await runRanks(mpi, 3, 'test/ranks/collectives.ts', [], { environment });
  expect(ended.code, ended.stdout + ended.stderr).toBe(0);
  expect(linesOf<Heard>(ended)).toEqual([0, 1, 2].map(heardBy));
};

describe('collectives on three ranks', () => {
  it.runIf(openMpi)('Open MPI', () => collectives(openMpi!));
  it.runIf(mpich)('MPICH', () => collectives(mpich!));
  it.runIf(mpich)('the standard ABI of MPI 5', () =>
    collectives(mpich!, { DEIT_MPI: mpichLibrary(mpich!, 'libmpi_abi.so.1') }),
  );
});

describe.runIf(process.platform === 'linux')('a C heap that cannot grow stays whole', () => {
  const fillsHeap = async (mpi: Mpi): Promise<void> => {
    const ended = await runRanks(mpi, 2, 'test/ranks/heap.ts');
    expect(ended.code, ended.stdout + ended.stderr).toBe(0);
    expect(linesOf(ended)).toEqual([0, 1].map((rank) => ({ rank, size: 2, whole: true })));
  };
  it.runIf(openMpi)('Open MPI', () => fillsHeap(openMpi!));
  it.runIf(mpich)('MPICH', () => fillsHeap(mpich!));
});

describe('the library belongs to the launcher', () => {
  const refused = async (mpi: Mpi, library: string): Promise<void> => {
    const ended = await runRanks(mpi, 2, 'test/ranks/collectives.ts', [], { environment: { DEIT_MPI: library } });
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain('[no-mpi]');
    expect(ended.stderr).toContain(`2 ranks, launched by ${mpi.name}`);
  };
  it.runIf(openMpi && mpich)('MPICH under mpirun of Open MPI', () =>
    refused(openMpi!, mpichLibrary(mpich!, 'libmpi.so.12')),
  );
  it.runIf(openMpi && mpich)('Open MPI under mpirun of MPICH', () => refused(mpich!, 'libmpi.so.40'));

  it.runIf(openMpi)('DEIT_MPI=off leaves every process by itself', async () => {
    const ended = await runRanks(openMpi!, 2, 'test/ranks/collectives.ts', [], { environment: { DEIT_MPI: 'off' } });
    expect(ended.code, ended.stderr).toBe(0);
    expect(linesOf<Heard>(ended).map(({ size }) => size)).toEqual([1, 1]);
  });
});

describe.runIf(process.platform === 'linux')('ranks end with their launcher, whatever they are in', () => {
  const endsRanks = async (mpi: Mpi): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'deit-orphans-'));
    try {
      const { stderr } = await runRanks(mpi, 2, 'test/ranks/orphan.ts', [folder]);
      const pids = readdirSync(folder);
      const gone = (pid: string): boolean => !/^State:\s+[^ZX]/m.test(statusOf(pid));
      await expect.poll(() => pids.every(gone), { timeout: 30_000 }).toBe(true);
      // Those that stay say so in a file more.
      expect(readdirSync(folder), stderr).toHaveLength(2);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  it.runIf(openMpi)('Open MPI', () => endsRanks(openMpi!));
  // What started them on this machine, as mpirun does on all; MPICH itself leaves them.
  it.runIf(mpich)('MPICH', () => endsRanks(mpich!));
});

const statusOf = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
};

describe('what launched a process', () => {
  const cases: [string, Record<string, string>, ReturnType<typeof detectLaunch>][] = [
    ['nothing', {}, null],
    [
      'mpirun of Open MPI',
      { OMPI_COMM_WORLD_SIZE: '4', OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_LOCAL_RANK: '1', PMIX_RANK: '3' },
      { launcher: 'Open MPI', size: 4, rank: 3, localRank: 1 },
    ],
    [
      'mpirun of MPICH or Intel MPI',
      { PMI_SIZE: '2', PMI_RANK: '1', MPI_LOCALRANKID: '1' },
      { launcher: 'MPICH', size: 2, rank: 1, localRank: 1 },
    ],
    [
      'srun',
      { SLURM_STEP_NUM_TASKS: '16', SLURM_PROCID: '9', SLURM_LOCALID: '1', PMI_SIZE: '16', PMI_RANK: '9' },
      { launcher: 'Slurm', size: 16, rank: 9, localRank: 1 },
    ],
    [
      'mpirun inside of a Slurm job',
      { SLURM_NTASKS: '16', SLURM_PROCID: '0', OMPI_COMM_WORLD_SIZE: '16', OMPI_COMM_WORLD_RANK: '5' },
      { launcher: 'Open MPI', size: 16, rank: 5, localRank: null },
    ],
    ['a batch script of Slurm, one process', { SLURM_NTASKS: '16', SLURM_PROCID: '0', SLURM_LOCALID: '0' }, null],
    ['mpirun -n 1', { OMPI_COMM_WORLD_SIZE: '1', OMPI_COMM_WORLD_RANK: '0' }, null],
  ];
  it.each(cases)('%s', (_name, environment, expected) => expect(detectLaunch(environment)).toEqual(expected));

  it.runIf(process.platform === 'linux')('and which libraries fit it', () => {
    const firstFor = (environment: Record<string, string>): string =>
      libraryCandidates(detectLaunch(environment), environment).find((path) => !path.includes('/'))!;
    const slurm = { SLURM_STEP_NUM_TASKS: '2', SLURM_PROCID: '0' };
    expect(firstFor({ OMPI_COMM_WORLD_SIZE: '2', OMPI_COMM_WORLD_RANK: '0' })).toBe('libmpi.so.40');
    expect(firstFor({ PMI_SIZE: '2', PMI_RANK: '0' })).toBe('libmpi.so.12');
    expect(firstFor({ ...slurm, PMIX_RANK: '0' })).toBe('libmpi.so.40');
    expect(firstFor({ ...slurm, PMI_RANK: '0' })).toBe('libmpi.so.12');
  });
});
