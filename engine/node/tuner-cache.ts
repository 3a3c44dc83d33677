/** Node only. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { DeitError } from '../../kernels/lib/errors.ts';
import type { Engine } from '../engine.ts';
import { parseStrictJson } from '../json.ts';
import { tune as tuneWithoutCache } from '../tuner.ts';
import type { TuneOptions, TuningReport } from '../tuner.ts';
import { variantChoicesOf } from '../variants.ts';
import type { Asked, VariantChoices } from '../variants.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { cacheFolder, packageVersion } from './package.ts';

export interface CachedTuneOptions extends TuneOptions {
  /** File that choices are kept in, for all devices; null for none. Default: `tuner.json` in the user's cache folder. */
  cache?: string | null;
}

/** $XDG_CACHE_HOME/deit-webgpu/tuner.json, or that in ~/.cache. */
export const defaultTunerCache = (): string => join(cacheFolder(), 'tuner.json');

/**
 * `tune` of the engine, with a file that remembers what was chosen, by device (adapter, driver, limits), version of this
 * package and problem: what it knows is not measured again. A file that cannot be read is made anew; one that cannot be
 * written changes nothing but `kept`.
 */
export async function tune(
  engine: Engine,
  work: (() => void) | readonly Asked[],
  options: CachedTuneOptions = {},
): Promise<TuningReport & { readonly kept: boolean }> {
  const path = options.cache === undefined ? defaultTunerCache() : options.cache;
  const { variants } = engine;
  const asked = typeof work === 'function' ? await variants.collect(() => engine.compile(work)) : work;
  if (path !== null) {
    const known = new Map(Object.entries((await load(path)).get(variants.device) ?? {}));
    for (const one of asked) {
      const name = known.get(one.key);
      if (name !== undefined && !variants.has(one.key)) variants.adopt(one, name);
    }
  }
  const report = await tuneWithoutCache(engine, asked, options);
  if (path === null || report.measured.length === 0) return { ...report, kept: path !== null };
  const { choices } = variants.export();
  const measured = asked.flatMap(({ key }) => (Object.hasOwn(choices, key) ? [[key, choices[key]] as const] : []));
  return { ...report, kept: await save(path, variants.device, Object.fromEntries(measured)) };
}

type Choices = VariantChoices['choices'];

/** Choices by device; none where the file is absent, damaged or of another version. */
async function load(path: string): Promise<Map<string, Choices>> {
  try {
    const content = parseStrictJson(await readFile(path), path);
    if (!(content instanceof Map) || content.get('version') !== packageVersion()) return new Map();
    const devices = content.get('devices');
    if (!Array.isArray(devices)) return new Map();
    return new Map(
      devices.map((one) => {
        const { device, choices } = variantChoicesOf(one, path);
        return [device, choices];
      }),
    );
  } catch {
    return new Map();
  }
}

/** Adds choices to the file: read afresh, since another process may have added its own meanwhile. */
async function save(path: string, device: string, choices: Choices): Promise<boolean> {
  const known = await load(path);
  known.set(device, { ...known.get(device), ...choices });
  const devices = [...known].map(([name, own]) => ({ device: name, choices: own }));
  const text = `${JSON.stringify({ version: packageVersion(), devices }, null, 2)}\n`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    await writeFileAtomically(path, [Buffer.from(text)]);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof DeitError || code !== undefined) return false;
    throw error;
  }
}
