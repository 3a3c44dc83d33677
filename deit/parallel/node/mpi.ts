/** Node only. The ranks of an MPI launch. */
import { DeitError } from '../../../engine/index.ts';
import type { CollectiveTime, Communicator, Numbers } from '../communicator.ts';
import type { Handle } from './abi.ts';
import type { MpiLibrary } from './library.ts';

/** Reductions of more bytes are done in parts of this many: larger ones leave the caches, and take up to three times as long. */
const PIECE = 2 ** 21;
/** How often a rank that waits looks again at once; then it sleeps between looks. */
const SPINS = 20;
const SLEEP_MS = 1;
/** Seconds after which ranks that do not come are given up. */
const PATIENCE = 600;
/** Seconds that a rank which has failed gives the others to fail too. */
const FAILING_TOGETHER = 2;

/**
 * `MPI_COMM_WORLD`. One collective at a time, in the order of the calls, on a worker thread; before each, ranks wait for
 * each other by a barrier that is looked at now and then, since waiting inside of MPI takes a whole core.
 */
export class MpiRanks implements Communicator {
  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  readonly localSize: number;
  readonly time: CollectiveTime = { waiting: 0, moving: 0 };
  private last: Promise<void> = Promise.resolve();
  private ended = false;
  private underWay = 0;
  private readonly patience: number;
  /** Of all ranks too, for what they say when they have failed: it does not mix with what is under way. */
  private readonly failures: Handle;

  /** Initializes MPI, which a process does once. */
  constructor(readonly library: MpiLibrary) {
    const { abi, routines } = library;
    const provided = new Int32Array(1);
    routines.initThread(null, null, abi.threadMultiple, provided);
    // Collectives run on worker threads, one at a time.
    if (provided[0] < abi.threadSerialized) {
      throw new DeitError('no-mpi', 'The MPI library cannot be called from several threads.', { where: library.path });
    }
    // Whatever ends this process before `close` ends all: the others would wait for it for ever.
    process.on('exit', (code) => this.abortUnlessEnded(code));
    [this.rank, this.size] = this.placeIn(abi.world);
    const local = abi.holder();
    routines.commSplitType(abi.world, abi.typeShared, this.rank, abi.infoNull, local);
    [this.localRank, this.localSize] = this.placeIn(local[0]);
    const failures = abi.holder();
    routines.commDup(abi.world, failures);
    this.failures = failures[0];
    this.patience = Number(process.env.DEIT_MPI_TIMEOUT ?? PATIENCE);
  }

  private placeIn(communicator: Handle): [number, number] {
    const { commRank, commSize } = this.library.routines;
    const answer = new Int32Array(2);
    commRank(communicator, answer.subarray(0, 1));
    commSize(communicator, answer.subarray(1, 2));
    return [answer[0], answer[1]];
  }

  sum(values: Numbers): Promise<void> {
    return this.reduce(values, this.library.abi.sum);
  }

  max(values: Numbers): Promise<void> {
    return this.reduce(values, this.library.abi.max);
  }

  private reduce(values: Numbers, operation: Handle): Promise<void> {
    const { abi, routines } = this.library;
    const type = values instanceof Float32Array ? abi.float : abi.double;
    const step = PIECE / values.BYTES_PER_ELEMENT;
    return this.collective(async () => {
      for (let first = 0; first < values.length; first += step) {
        const piece = values.subarray(first, first + step);
        await routines.allreduce.async(abi.inPlace, piece, piece.length, type, operation, abi.world);
      }
    });
  }

  broadcast(bytes: Uint8Array<ArrayBuffer>, root = 0): Promise<void> {
    const { abi, routines } = this.library;
    return this.collective(async () => {
      for (let first = 0; first < bytes.length; first += PIECE) {
        const piece = bytes.subarray(first, first + PIECE);
        await routines.bcast.async(piece, piece.length, abi.byte, root, abi.world);
      }
    });
  }

  allGather(part: Uint8Array<ArrayBuffer>, all: Uint8Array<ArrayBuffer>): Promise<void> {
    const { abi, routines } = this.library;
    return this.collective(() =>
      routines.allgather.async(part, part.length, abi.byte, all, part.length, abi.byte, abi.world),
    );
  }

  allToAll(parts: Uint8Array<ArrayBuffer>, received: Uint8Array<ArrayBuffer>): Promise<void> {
    const { abi, routines } = this.library;
    const length = parts.length / this.size;
    return this.collective(() =>
      routines.alltoall.async(parts, length, abi.byte, received, length, abi.byte, abi.world),
    );
  }

  barrier(): Promise<void> {
    return this.collective(() => Promise.resolve());
  }

  async allFailed(): Promise<boolean> {
    const met = await this.meet(this.failures, FAILING_TOGETHER);
    return met && this.underWay === 0;
  }

  abort(exitCode: number): never {
    this.abortUnlessEnded(exitCode);
    process.exit(exitCode);
  }

  private abortUnlessEnded(exitCode: number): void {
    if (this.ended) return;
    this.ended = true;
    // mpirun takes an end without MPI_Finalize for a failure, also with code 0; so it is one.
    this.library.routines.abort(this.library.abi.world, exitCode || 1);
  }

  async close(): Promise<void> {
    // However long rank 0 takes to write its report.
    await this.collective(() => Promise.resolve(), Infinity);
    this.ended = true;
    this.library.routines.finalize();
  }

  /** In its turn, once all ranks are there. */
  private collective(work: () => Promise<void>, patience = this.patience): Promise<void> {
    this.underWay++;
    const mine = this.last.then(async () => {
      const start = performance.now();
      if (!(await this.meet(this.library.abi.world, patience))) throw this.missing(patience);
      const met = performance.now();
      await work();
      this.time.waiting += (met - start) / 1000;
      this.time.moving += (performance.now() - met) / 1000;
      this.underWay--;
    });
    this.last = mine.catch(() => undefined);
    return mine;
  }

  /** Resolves to whether all ranks of a communicator are here; false after so many seconds. */
  private async meet(communicator: Handle, patience: number): Promise<boolean> {
    const { abi, routines } = this.library;
    // Held on to until the barrier is over: MPI writes to it.
    const request = abi.holder();
    const arrived = new Int32Array(1);
    const start = performance.now();
    routines.ibarrier(communicator, request);
    for (let looks = 0; ; looks++) {
      routines.test(request, arrived, abi.statusIgnore);
      if (arrived[0]) return true;
      if (performance.now() - start > 1000 * patience) return false;
      await (looks < SPINS ? soon() : later());
    }
  }

  private missing(patience: number): DeitError {
    return new DeitError('rank-failed', 'Other ranks have not come to where this one waits.', {
      where: `rank ${this.rank}`,
      found: `nothing for ${patience} seconds`,
      fix: 'see what the others printed; where something takes that long, DEIT_MPI_TIMEOUT=SECONDS allows for it',
    });
  }
}

const soon = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const later = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, SLEEP_MS));
