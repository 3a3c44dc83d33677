import { afterAll, beforeAll } from 'vitest';
import { createEngine } from '../../engine/node.ts';
import type { Engine } from '../../engine/node.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';

/**
 * An engine that takes its device for another one, so that kernels choose the variants they would choose there.
 * What is claimed must be something that the real device can do. `variant` is what kernels compute by that have it.
 */
export function useEngineAs(claims: Partial<DeviceProfile>, variant?: string): () => Engine {
  let engine: Engine | null = null;
  beforeAll(async () => {
    engine = await createEngine({ variant });
    // In place: the engine and its table of launches hold the same profile.
    Object.assign(engine.profile, claims);
  });
  afterAll(() => engine?.close());
  return () => engine!;
}

/** Devices that kernels choose differently for, the first the real one, and the plain variants of kernels. */
export const PROFILES: readonly { name: string; claims: Partial<DeviceProfile>; variant?: string }[] = [
  { name: 'this device', claims: {} },
  { name: 'a GPU', claims: { cpu: false } },
  { name: 'a GPU without fixed subgroups', claims: { cpu: false, subgroupSize: 0 } },
  { name: 'a processor without subgroups', claims: { cpu: true, subgroupSize: 0 } },
  { name: 'small bindings', claims: { maxBindingSize: 65536 } },
  { name: 'any device, by plain kernels', claims: {}, variant: 'plain' },
];
