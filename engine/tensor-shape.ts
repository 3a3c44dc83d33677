import { DeitError } from '../kernels/lib/errors.ts';

export type Shape = readonly number[];

export const numel = (shape: Shape): number => shape.reduce((product, size) => product * size, 1);

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((size, i) => size === b[i]);

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** The place of a row-major index in a shape, an index a dimension (NumPy's `unravel_index`). */
export function unravelIndex(index: number, shape: Shape): number[] {
  const at: number[] = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    at.unshift(index % shape[d]);
    index = Math.floor(index / shape[d]);
  }
  return at;
}

export function expectSizes(shape: Shape): void {
  if (Array.isArray(shape) && shape.every((size: number) => Number.isInteger(size) && size >= 0)) return;
  const found = Array.isArray(shape) ? formatShape(shape) : String(shape);
  throw new DeitError('bad-argument', 'A shape is an array of whole numbers.', { found });
}

/** A dimension counted from the end (negative) as one from the start. */
export function normalizeDim(dim: number, rank: number, where: string): number {
  const normal = dim < 0 ? dim + rank : dim;
  if (!Number.isInteger(dim) || normal < 0 || normal >= Math.max(rank, 1)) {
    throw new DeitError('bad-argument', 'There is no such dimension.', {
      where,
      expected: `an integer from ${-rank} to ${rank - 1}`,
      found: String(dim),
    });
  }
  return normal;
}

/** The shape that operands broadcast to (PyTorch's and NumPy's rule). */
export function broadcastShapes(a: Shape, b: Shape, where: string): number[] {
  const rank = Math.max(a.length, b.length);
  const result: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new DeitError('shape-mismatch', 'The shapes cannot be broadcast together.', {
        where,
        expected: 'sizes that are equal or 1, aligned at the last dimension',
        found: `${formatShape(a)} and ${formatShape(b)}`,
      });
    }
    result.push(x === 1 ? y : x);
  }
  return result;
}

/** Throws `shape-mismatch` unless the shapes are equal. */
export function expectShape(found: Shape, expected: Shape, where: string, what: string): void {
  if (sameShape(found, expected)) return;
  throw new DeitError('shape-mismatch', `The shape of ${what} does not fit.`, {
    where,
    expected: formatShape(expected),
    found: formatShape(found),
  });
}
