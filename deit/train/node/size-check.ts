/** Files that hold far more than the model they are of, known by their headers. Node only. */
import { DeitError, formatBytes, formatShape } from '../../../engine/node.ts';
import type { HeaderCheck } from '../../../engine/node.ts';
import { summarizeModel } from '../../models/registry.ts';
import { readCard } from '../../weights/model-card.ts';

/** Bytes for each number of a model: a checkpoint has model, moving average and two moments of the optimizer in f32. */
const EACH = 4 * 4;
/** For heads of other classes and position embeddings of other resolutions. */
const SPARE = 2 ** 28;
/** Of a file that does not say its model: the largest model here, with its checkpoint, has less. */
const UNKNOWN = 2 ** 31;

/**
 * Sees the headers of the files of `path` before their data is read, and throws `state-mismatch` where they hold more bytes in
 * all than `model` (name with options), or else the model that they name themselves, can take.
 */
export function refuseOversized(path: string, model?: string | null): HeaderCheck {
  let bytes = 0;
  return ({ entries, metadata }) => {
    for (const { begin, end } of entries) bytes += end - begin;
    if (bytes <= SPARE) return;
    const spec = model ?? readCard(metadata, path)?.model;
    const most = spec === undefined ? UNKNOWN : SPARE + EACH * sizeOf(spec);
    if (bytes <= most) return;
    const largest = entries.reduce((a, b) => (b.end - b.begin > a.end - a.begin ? b : a));
    throw new DeitError('state-mismatch', 'The file holds far more than its model; its data was not read.', {
      where: path,
      expected: `at most ${formatBytes(most)} for ${spec ?? 'any model here'}`,
      found: `${formatBytes(bytes)}, of which the tensor ${JSON.stringify(largest.name)} ${formatShape(largest.shape)} takes the most`,
      fix: 'take the weights of this model, or name the model that they are of',
    });
  };
}

/** Numbers in the tensors of a model. */
const sizeOf = (spec: string): number =>
  summarizeModel(spec).tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
