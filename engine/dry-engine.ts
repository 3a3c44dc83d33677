import { deviceProfiles } from '../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../kernels/lib/device.ts';
import { Engine } from './engine.ts';
import type { DryRun } from './engine.ts';
import type { EngineOptions } from './options.ts';
import { contextOf, dryContext } from './gpu/dry.ts';

/** What every WebGPU device offers, and bindings of any size. */
const leastDevice: DeviceProfile = { ...deviceProfiles.any, maxBindingSize: 2 ** 40 };

/**
 * An engine for a device that is not there: everything on it is recorded and planned as that device would do it, and nothing
 * runs. Reads give zeros. `commands` lists the launches that the kernels of this version choose for it, once `idle` has resolved. Close it in the end.
 */
export function createDryEngine(profile: DeviceProfile = leastDevice, options: EngineOptions = {}): DryRun {
  const { context, largestBinding, commands } = dryContext(contextOf(profile));
  return { engine: new Engine(context, options), largestBinding, commands };
}
