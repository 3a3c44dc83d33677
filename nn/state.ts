import { DeitError, formatShape, sameShape, storeElements, storeFloats, toFloat32 } from '../engine/index.ts';
import type { ErrorDetails, Shape, StoredTensor, Tensor } from '../engine/index.ts';

/** A tensor's content on the host, in row-major order. */
export interface StateValue {
  readonly shape: Shape;
  readonly data: ArrayLike<number>;
}

/** An integer of the state dict that lives on the host, such as BatchNorm's `num_batches_tracked`. */
export interface Counter {
  value: number;
}

export interface TensorDescription {
  readonly name: string;
  readonly shape: Shape;
  /** Trained, part of the state (running statistics), or an integer that lives on the host. */
  readonly kind: 'parameter' | 'buffer' | 'counter';
}

export interface LoadOptions {
  /** Whether tensors that are missing or left over are errors (default), or are returned. Shapes must always fit. */
  strict?: boolean;
}

/** What a lenient load left undone. */
export interface LoadReport {
  readonly missing: string[];
  readonly unexpected: string[];
}

/**
 * Writes host data to the tensors and counters of the same names. Throws `state-mismatch`, before anything is changed,
 * with the tensors that are missing, unexpected or misshapen, or the first of them. Counters may be missing: older checkpoints have none.
 */
export function writeState(
  tensors: ReadonlyMap<string, Tensor>,
  given: ReadonlyMap<string, StateValue>,
  { strict = true }: LoadOptions = {},
  counters: ReadonlyMap<string, Counter> = new Map(),
): LoadReport {
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, { shape }] of tensors) {
    const value = given.get(name);
    if (!value) missing.push(name);
    else if (!sameShape(value.shape, shape)) {
      misshapen.push(`${name} ${formatShape(value.shape)} instead of ${formatShape(shape)}`);
    }
  }
  const unexpected = [...given.keys()].filter((name) => !tensors.has(name) && !counters.has(name));
  if (misshapen.length > 0 || (strict && missing.length + unexpected.length > 0)) {
    throw stateMismatch({ missing, unexpected, misshapen });
  }
  for (const [name, value] of given) {
    tensors.get(name)?.write(value.data);
    const counter = counters.get(name);
    if (counter) counter.value = value.data[0] ?? 0;
  }
  return { missing, unexpected };
}

/** The error for weights that do not fit: how many tensors in which way, and the first of them. */
export function stateMismatch(
  problems: Readonly<Record<string, readonly string[]>>,
  details: ErrorDetails = {},
): DeitError {
  const lines = Object.entries(problems)
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `${names.length} ${what}: ${listed(names)}`);
  return new DeitError('state-mismatch', 'The weights do not fit the model.', {
    found: lines.join('\n    '),
    fix: 'check the model name and its options (image size, patch, classes, distilled or not) against the checkpoint',
    ...details,
  });
}

/** Names on one line; of another model's weights hundreds do not fit, which would hide the rest of the message. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

/** Reads tensors back together, as f32 to be stored under their names. */
export async function readTensors(tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, StoredTensor>> {
  const entries = [...tensors];
  if (entries.length === 0) return new Map();
  const { engine } = entries[0][1];
  const contents = await Promise.all(engine.scope(() => entries.map(([, tensor]) => tensor.read())));
  return new Map(
    entries.map(([name, { shape }], i) => [name, storeFloats(contents[i] as Float32Array<ArrayBuffer>, shape)]),
  );
}

/** What a module's state consists of. */
interface Stateful {
  stateDict(): Map<string, Tensor>;
  namedCounters(): [string, Counter][];
}

/** The whole state of a module, ready for `writeSafetensors`: parameters and buffers as F32, counters as I64. */
export async function saveState(module: Stateful): Promise<Map<string, StoredTensor>> {
  const state = await readTensors(module.stateDict());
  for (const [name, { value }] of module.namedCounters()) {
    state.set(name, storeElements('I64', BigInt64Array.of(BigInt(value)), []));
  }
  return state;
}

/** Stored tensors of any dtype as host data for `loadStateDict`, converted when first asked for. f32 is not copied. */
export function stateValues(tensors: ReadonlyMap<string, StoredTensor>): Map<string, StateValue> {
  return new Map([...tensors].map(([name, tensor]) => [name, stateValue(tensor)]));
}

function stateValue(tensor: StoredTensor): StateValue {
  let data: Float32Array | null = null;
  return {
    shape: tensor.shape,
    get data() {
      return (data ??= toFloat32(tensor));
    },
  };
}
