import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensorsHeader } from '../../../engine/node.ts';
import { findWeights } from './find-weights.ts';
import type { WeightsIdentity } from './inputs.ts';
import { refuseOversized } from './size-check.ts';

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
