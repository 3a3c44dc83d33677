/**
 * What a run is trained from besides its recipe: its data, the weights that it starts from, its teacher's. Checkpoints keep
 * checksums of these, so that a run does not go on over others unnoticed. Node only.
 */
import * as v from 'valibot';
import { DeitError } from '../../../engine/node.ts';
import { count } from '../run-schemas.ts';

/** A file of weights, or the files of a folder, as far as they tell it from others. */
export interface WeightsIdentity {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface RunInputs {
  /** SHA-256 of the listing of the data. */
  readonly data: string;
  /** Null for a student that starts from random weights. */
  readonly start: WeightsIdentity | null;
  /** Null without a teacher, and while it is being trained. */
  readonly teacher: WeightsIdentity | null;
}

const identitySchema = v.nullable(v.object({ path: v.string(), bytes: count, sha256: v.string() }));
const inputsSchema = v.object({ data: v.string(), start: identitySchema, teacher: identitySchema });

/** From the metadata of a checkpoint, which its checksum covers. Throws `file-corrupt`. */
export function parseInputs(text: string, where: string): RunInputs {
  try {
    return v.parse(inputsSchema, JSON.parse(text));
  } catch (cause) {
    throw new DeitError('file-corrupt', 'The checkpoint does not say what it was trained on.', {
      where,
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
}
