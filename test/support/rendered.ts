import { catalog, kernelsOf } from '../../kernels/catalog/index.ts';
import type { BoundKernel, Field } from '../../kernels/catalog/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';

/** Of a variant that is asked for by its name; null where it does not fit the problem on the device. */
function launchesOf(kernel: BoundKernel, device: DeviceProfile, variant: string): Launch[] | null {
  try {
    return kernel.launches(device, variant);
  } catch (error) {
    if (error instanceof DeitError && error.message.includes('No such variant')) return null;
    throw error;
  }
}

/** Every operator, forward and backward, in f32 and where the device has it in f16, and by every variant that fits. */
export function* rendered(device: DeviceProfile): Generator<{ what: string; launches: Launch[] }> {
  for (const [name, { sizes, options, backward }] of Object.entries(catalog)) {
    const problem: Readonly<Record<string, Field>> = { ...options, ...sizes };
    const problems = 'f16' in options && device.f16 ? [problem, { ...problem, f16: true }] : [problem];
    for (const own of problems) {
      for (const pass of backward ? (['forward', 'backward'] as const) : (['forward'] as const)) {
        if (name === 'f16_copy' && !device.f16) continue;
        for (const kernel of kernelsOf(name, own, pass)) {
          yield { what: `${name}, ${pass}, ${JSON.stringify(own)}`, launches: kernel.launches(device) };
          for (const variant of kernel.variants) {
            const launches = launchesOf(kernel, device, variant);
            if (launches) yield { what: `${name}, ${pass}, ${variant}`, launches };
          }
        }
      }
    }
  }
}
