/**
 * The three binary interfaces of MPI libraries. Names are the standard's; what differs is what its handles and constants
 * are: addresses of symbols (Open MPI), integers (MPICH and all that are compatible with it: Intel MPI, MVAPICH, Cray), or
 * small pointers (the standard ABI of MPI 5.0, which newer libraries bring as `libmpi_abi`).
 */
export interface MpiAbi {
  readonly name: 'Open MPI' | 'MPICH' | 'MPI 5 standard ABI';
  /** C type of a handle that is passed, and an array that takes up one that is handed out. */
  readonly handle: 'int' | 'uintptr_t';
  readonly holder: () => Int32Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>;
  readonly world: Handle;
  readonly float: Handle;
  readonly double: Handle;
  readonly byte: Handle;
  readonly sum: Handle;
  readonly max: Handle;
  readonly infoNull: Handle;
  /** Constants that stand where a pointer is expected. */
  readonly inPlace: bigint;
  readonly statusIgnore: bigint;
  readonly threadMultiple: number;
  readonly threadSerialized: number;
  readonly typeShared: number;
}

export type Handle = number | bigint;

const integer = (): Int32Array<ArrayBuffer> => new Int32Array(1);
const pointer = (): BigUint64Array<ArrayBuffer> => new BigUint64Array(1);

/** Open MPI 1.3 and later (mpi.h of 4.1); `address` looks up an exported symbol. */
export const openMpi = (address: (symbol: string) => bigint): MpiAbi => ({
  name: 'Open MPI',
  handle: 'uintptr_t',
  holder: pointer,
  world: address('ompi_mpi_comm_world'),
  float: address('ompi_mpi_float'),
  double: address('ompi_mpi_double'),
  byte: address('ompi_mpi_byte'),
  sum: address('ompi_mpi_op_sum'),
  max: address('ompi_mpi_op_max'),
  infoNull: address('ompi_mpi_info_null'),
  inPlace: 1n,
  statusIgnore: 0n,
  threadMultiple: 3,
  threadSerialized: 2,
  typeShared: 0,
});

/** The common ABI of MPICH (mpi.h of 5.0; the values are frozen since 3.1). */
export const mpich: MpiAbi = {
  name: 'MPICH',
  handle: 'int',
  holder: integer,
  world: 0x44000000,
  float: 0x4c00040a,
  double: 0x4c00080b,
  byte: 0x4c00010d,
  sum: 0x58000003,
  max: 0x58000001,
  infoNull: 0x1c000000,
  inPlace: 2n ** 64n - 1n,
  statusIgnore: 1n,
  threadMultiple: 3,
  threadSerialized: 2,
  typeShared: 1,
};

/** MPI 5.0, chapter 20 (mpi_abi.h). */
export const standardAbi: MpiAbi = {
  name: 'MPI 5 standard ABI',
  handle: 'uintptr_t',
  holder: pointer,
  world: 0x101n,
  float: 0x210n,
  double: 0x214n,
  byte: 0x247n,
  sum: 0x21n,
  max: 0x23n,
  infoNull: 0x130n,
  inPlace: 1n,
  statusIgnore: 0n,
  threadMultiple: 4096,
  threadSerialized: 2048,
  typeShared: 221,
};
