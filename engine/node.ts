import { freemem } from 'node:os';
import { Engine } from './engine.ts';
import type { EngineOptions } from './options.ts';
import { openContext, ownContext } from './gpu/context.ts';
import { chooseAdapter } from './node/adapter.ts';
import { installPolling } from './node/polling.ts';

export * from './index.ts';
/** What `deit kernel` shows. */
export { catalog, expectFeatures, kernelsOf, operatorName, problemOf } from '../kernels/catalog/index.ts';
export { deviceProfiles } from '../kernels/lib/device-profiles.ts';
export type { DeviceProfileName } from '../kernels/lib/device-profiles.ts';
export { syncFolder, writeFileAtomically } from './node/atomic-file.ts';
export { cacheFolder, packageRoot, packageVersion } from './node/package.ts';
export { defaultTunerCache, tune } from './node/tuner-cache.ts';
export type { CachedTuneOptions } from './node/tuner-cache.ts';
export {
  readSafetensors,
  readSafetensorsFile,
  readSafetensorsHeader,
  writeSafetensors,
} from './node/safetensors-files.ts';
export type { HeaderCheck } from './node/safetensors-files.ts';

/** Part of the free memory that a software adapter may use. */
const SHARE_OF_FREE = 0.8;

/** Software adapters never report that memory is out: the process just dies. So they get a share of what is free. */
const defaultBudget = (software: boolean): number | undefined =>
  software ? Math.floor(SHARE_OF_FREE * (process.availableMemory?.() ?? freemem())) : undefined;

/**
 * Opens an engine in Node: on a GPU if there is one, else on a software adapter, or on what is given. Close it and the process can end.
 * Throws `no-adapter` with what to install where none can be had.
 */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  const stopPolling = installPolling();
  try {
    const { adapter } = options;
    const context =
      typeof adapter === 'object' ? await ownContext(adapter) : await openContext(await chooseAdapter(adapter));
    const debug = options.debug ?? process.env.DEIT_DEBUG === '1';
    const memoryBudget = options.memoryBudget ?? defaultBudget(context.report.software);
    return new Engine(context, { ...options, memoryBudget, debug, onClose: stopPolling });
  } catch (error) {
    stopPolling();
    throw error;
  }
}
