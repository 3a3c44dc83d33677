/** NaN and infinity in weights, in input and in what is computed from them: found, and told, in one way. Browser-safe. */
import { DeitError, describeNonFinite, formatShape, unravelIndex } from '../engine/index.ts';
import type { NonFiniteOutput } from '../engine/index.ts';
import type { StateValue } from '../nn/index.ts';

/** Index of the first element that is NaN or infinite; -1 where all are finite. */
export function firstNonFinite(values: ArrayLike<number>): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return i;
  return -1;
}

/** `NaN in head.bias at [3], and in 2 more tensors`; null where all values are finite. */
function describeFirst(tensors: Iterable<readonly [name: string, value: StateValue]>): string | null {
  let first: string | null = null;
  let more = 0;
  for (const [name, { data, shape }] of tensors) {
    const index = firstNonFinite(data);
    if (index < 0) continue;
    if (first !== null) more++;
    else first = `${data[index]} in ${name}${shape.length > 0 ? ` at ${formatShape(unravelIndex(index, shape))}` : ''}`;
  }
  return first !== null && more > 0 ? `${first}, and in ${more} more tensor${more > 1 ? 's' : ''}` : first;
}

/** Throws `non-finite` that names the first tensor of a state with NaN or infinity; `where` says what the state is of. */
export function expectFiniteWeights(tensors: ReadonlyMap<string, StateValue>, where: string): void {
  const found = describeFirst(tensors);
  if (found === null) return;
  throw new DeitError('non-finite', 'The weights are not finite.', {
    where,
    found,
    fix: 'use other weights: these are damaged, or come from a training that diverged',
  });
}

/** Throws `non-finite` if values that were given, named by `where`, are not finite. */
export function expectFiniteInput({ data, shape }: StateValue, where: string): void {
  const index = firstNonFinite(data);
  if (index < 0) return;
  throw new DeitError('non-finite', 'The input is not finite.', {
    where,
    found: `${data[index]} at ${formatShape(unravelIndex(index, shape))}`,
    fix: 'mend the input; a division by zero or a logarithm of zero on the way to it is the usual cause',
  });
}

/** What results were computed from, to find out which of it is at fault. */
export interface Suspects {
  /** Values by the names that people know them by. */
  readonly inputs: ReadonlyMap<string, StateValue>;
  readonly weights: () => Promise<ReadonlyMap<string, StateValue>>;
  /** What the weights are called. */
  readonly source: string;
  /** Computes it again and returns the outputs of operators that are not finite. */
  readonly examine: () => Promise<readonly NonFiniteOutput[]>;
  /** Whether products were computed in f16. */
  readonly f16?: boolean;
}

/** The error for results that are not finite: the input's, the weights', or else it names the operator that overflowed. */
export async function explainNonFinite(results: string, suspects: Suspects): Promise<DeitError> {
  try {
    for (const [name, value] of suspects.inputs) expectFiniteInput(value, name);
    expectFiniteWeights(await suspects.weights(), suspects.source);
  } catch (error) {
    if (error instanceof DeitError && error.code === 'non-finite') return error;
    throw error;
  }
  const outputs = await suspects.examine();
  return new DeitError(
    'non-finite',
    `The ${results} are not finite, though weights and input are: something overflows.`,
    {
      where: [...suspects.inputs.keys()].join(', '),
      found: describeOutputs(outputs) ?? 'nothing when it was computed again',
      fix: suspects.f16
        ? 'compute in f32, whose range is larger than that of f16'
        : `the weights of ${suspects.source} are too large to compute with: use other ones`,
    },
  );
}

/** Where NaN or infinity turned up first; null where it did not. */
export const describeOutputs = (outputs: readonly NonFiniteOutput[]): string | null =>
  outputs.length === 0 ? null : `first in ${describeNonFinite(outputs[0])}; in ${outputs.length} outputs in all`;
