/** Node only. Loads an MPI library through koffi, tells which binary interface it has, and binds what is used of it. */
import type * as Koffi from 'koffi';
import { DeitError } from '../../../engine/index.ts';
import { mpich, openMpi, standardAbi } from './abi.ts';
import type { Handle, MpiAbi } from './abi.ts';

type Loaded = ReturnType<typeof Koffi.load>;
type Argument = Handle | ArrayBufferView<ArrayBuffer> | null;

/** A C function that returns an error code, called on this thread or on a worker thread. */
export interface Routine {
  (...args: Argument[]): void;
  /** Runs on a thread of its own: arguments must be left alone until it is done. */
  async(...args: Argument[]): Promise<void>;
}

export interface MpiLibrary {
  readonly abi: MpiAbi;
  /** Name or path by which it was loaded. */
  readonly path: string;
  /** What the library calls itself, in one line. */
  readonly version: string;
  readonly routines: ReturnType<typeof bind>;
}

/** The names of `candidates` in order, the first that can be loaded. Throws `no-mpi` with what was tried. */
export async function loadMpi(candidates: readonly string[]): Promise<MpiLibrary> {
  const koffi = await importKoffi();
  // UCX, which most MPI libraries use, tries its memory hooks by growing the C heap by a page and shrinking it again. Where
  // the heap cannot grow, because Node has placed its code right behind it, that takes a page away that is in use.
  process.env.UCX_MEM_MMAP_HOOK_MODE ??= 'none';
  const failures: string[] = [];
  for (const path of candidates) {
    let library: Loaded;
    try {
      // Global, for the parts of Open MPI that are loaded later look for its symbols.
      library = koffi.load(path, { global: true });
    } catch (error) {
      failures.push(`${path}: ${String((error as Error).message).split('\n')[0]}`);
      continue;
    }
    const abi = abiOf(library);
    if (!abi) {
      failures.push(`${path}: it is no MPI library`);
      continue;
    }
    const routines = bind(library, abi);
    return { abi, path, version: versionOf(routines), routines };
  }
  throw new DeitError('no-mpi', 'No MPI library could be loaded.', {
    found: failures.join('; '),
    fix:
      'install the MPI whose mpirun starts this run (Debian: apt-get install openmpi-bin), or name its library, ' +
      'for example DEIT_MPI=/usr/lib/x86_64-linux-gnu/libmpi.so.40',
  });
}

async function importKoffi(): Promise<Pick<typeof Koffi, 'load'>> {
  try {
    return await import('koffi');
  } catch (cause) {
    throw new DeitError('no-mpi', 'MPI is called through the package koffi, which is not installed.', {
      found: cause instanceof Error ? cause.message.split('\n')[0] : String(cause),
      fix: 'install without --omit=optional, or npm install koffi',
      cause,
    });
  }
}

/** Open MPI exports its handles; of the others, those that have the standard ABI say so. */
function abiOf(library: Loaded): MpiAbi | null {
  const address = (symbol: string): bigint => library.symbol(symbol) as bigint;
  if (has(() => address('ompi_mpi_comm_world'))) return openMpi(address);
  if (!has(() => library.func('MPI_Init_thread', 'int', []))) return null;
  const [major, minor] = [new Int32Array(1), new Int32Array(1)];
  const asked = has(() => {
    library.func('MPI_Abi_get_version', 'int', ['void *', 'void *'])(major, minor);
  });
  return asked && major[0] >= 1 ? standardAbi : mpich;
}

function has(look: () => unknown): boolean {
  try {
    look();
    return true;
  } catch {
    return false;
  }
}

function bind(library: Loaded, { handle }: MpiAbi) {
  const routine = (name: string, ...types: string[]): Routine => {
    const call = library.func(name, 'int', types);
    const judge = (code: unknown): void => {
      if (code === 0) return;
      throw new DeitError('rank-failed', 'A call of the MPI library failed.', {
        where: name,
        found: `error class ${String(code)}`,
      });
    };
    return Object.assign((...args: Argument[]): void => judge(call(...args)), {
      async: async (...args: Argument[]): Promise<void> =>
        judge(
          await new Promise<unknown>((resolve, reject) => {
            call.async(...args, (error: Error | null, code: unknown) => (error ? reject(error) : resolve(code)));
          }),
        ),
    });
  };
  // Pointers that may be constants of the library stand as numbers.
  const [int, data, constant] = ['int', 'void *', 'uintptr_t'];
  return {
    initThread: routine('MPI_Init_thread', data, data, int, data),
    finalize: routine('MPI_Finalize'),
    abort: routine('MPI_Abort', handle, int),
    libraryVersion: routine('MPI_Get_library_version', data, data),
    processorName: routine('MPI_Get_processor_name', data, data),
    commRank: routine('MPI_Comm_rank', handle, data),
    commSize: routine('MPI_Comm_size', handle, data),
    commDup: routine('MPI_Comm_dup', handle, data),
    commSplitType: routine('MPI_Comm_split_type', handle, int, int, handle, data),
    ibarrier: routine('MPI_Ibarrier', handle, data),
    test: routine('MPI_Test', data, data, constant),
    /** In place: what is sent is `inPlace`. */
    allreduce: routine('MPI_Allreduce', constant, data, int, handle, handle, handle),
    bcast: routine('MPI_Bcast', data, int, handle, int, handle),
    allgather: routine('MPI_Allgather', data, int, handle, data, int, handle, handle),
    alltoall: routine('MPI_Alltoall', data, int, handle, data, int, handle, handle),
  };
}

/** The longest answers that any of the three interfaces allows. */
const LONGEST_VERSION = 8192;

function versionOf({ libraryVersion }: ReturnType<typeof bind>): string {
  const text = new Uint8Array(LONGEST_VERSION);
  const length = new Int32Array(1);
  libraryVersion(text, length);
  // Some of MPICH go on for lines about how it was built.
  return new TextDecoder()
    .decode(text.subarray(0, length[0]))
    .split(/[\n,\0]/)[0]
    .replace(/\s+/g, ' ')
    .trim();
}
