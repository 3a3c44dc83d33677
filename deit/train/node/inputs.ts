/**
 * What a run is trained from besides its recipe: its data, the weights that it starts from, its teacher's. Checkpoints keep
 * checksums of these, so that a run does not go on over others unnoticed. Node only.
 */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { DeitError, readSafetensorsHeader } from '../../../engine/node.ts';
import { count } from '../run-schemas.ts';
import { findWeights } from './find-weights.ts';
import { refuseOversized } from './size-check.ts';

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

/**
 * The identity of weights by what a user calls them, as `openCheckpoint` takes it. Reads them wholly, unless they hold far
 * more than `model`: then it throws as that does.
 */
export async function identifyWeights(pathOrName: string, model?: string | null): Promise<WeightsIdentity> {
  const { path } = await findWeights(pathOrName, false);
  const names = statSync(path).isDirectory() ? (await readdir(path)).sort() : null;
  const files = names?.filter((name) => /\.(safetensors|json)$/.test(name)).map((name) => join(path, name)) ?? [path];
  const hash = createHash('sha256');
  const check = refuseOversized(path, model);
  let bytes = 0;
  for (const file of files) {
    if (file.endsWith('.safetensors')) check(await readSafetensorsHeader(file));
    for await (const piece of createReadStream(file)) {
      hash.update(piece as Buffer);
      bytes += (piece as Buffer).byteLength;
    }
  }
  return { path, bytes, sha256: hash.digest('hex') };
}
