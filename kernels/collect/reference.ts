/** The first element of each tensor, in order. */
export const collectReference = (tensors: readonly ArrayLike<number>[]): number[] => tensors.map((x) => x[0]);
