import { existsSync } from 'node:fs';
import { availableParallelism, constants } from 'node:os';
import { create, globals } from 'webgpu';
import { DeitError } from '../../kernels/lib/errors.ts';
import { browserAdapter } from '../gpu/browser.ts';
import { isSoftwareAdapter } from '../gpu/context.ts';
import type { FoundAdapter } from '../gpu/context.ts';
import { stderrFilter } from './native-stderr.ts';
import { embeddedSwiftShader } from './swiftshader.ts';
import type { SwiftShader } from './swiftshader.ts';

/**
 * `auto`, `swiftshader` (the embedded software adapter), `runtime` (the WebGPU of the runtime itself, as Deno has one, in place
 * of Dawn), or part of an adapter's name as Dawn matches it.
 */
export type AdapterChoice = string;

/**
 * What `create()` returned, by its flags and the driver chosen. It must stay referenced for the life of the process, or Dawn
 * aborts it; and each has files and threads of its own, so there is one for all engines.
 */
const instances = new Map<string, GPU>();

/** Dawn keeps f16 on NVIDIA, and subgroup matrices anywhere, from programs that do not ask for them. */
const HIDDEN = 'allow_unsafe_apis,vulkan_enable_f16_on_nvidia';

const INSTALL_MESA =
  'on Debian 13 or Ubuntu: sudo apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1 ' +
  '(Debian 12: the same with -t bookworm-backports, since Dawn refuses its Mesa 22)';

/**
 * Chooses an adapter: a GPU if there is one, else Mesa's lavapipe, else the SwiftShader that the package brings.
 * `choice` (or the environment variable DEIT_ADAPTER) overrides that.
 */
export async function chooseAdapter(choice: AdapterChoice = process.env.DEIT_ADAPTER ?? 'auto'): Promise<FoundAdapter> {
  if (choice === 'runtime') return { adapter: await browserAdapter(), choice, advice: null };
  Object.assign(globalThis, globals);
  const embedded = choice === 'auto' || choice === 'swiftshader' ? embeddedSwiftShader() : null;
  if (choice === 'swiftshader') return swiftShader(embedded, choice);
  if (!systemHasVulkanLoader() && embedded) loadVulkanLoader(embedded.loader);
  const flags = choice === 'auto' ? [] : [`adapter=${choice}`];
  const adapter = await request(flags);
  if (adapter) {
    const software = isSoftwareAdapter(adapter.info);
    const advice = software ? 'this is the processor; a GPU with a Vulkan driver is far faster' : null;
    const again = availableParallelism() > 1 ? () => request(flags) : undefined;
    return { adapter, choice: choice === 'auto' ? (software ? 'lavapipe' : 'gpu') : choice, advice, again };
  }
  if (choice !== 'auto') {
    throw new DeitError('no-adapter', `No adapter matches "${choice}".`, {
      fix: 'unset DEIT_ADAPTER to let one be chosen, or name part of an adapter that `deit doctor` lists',
    });
  }
  return swiftShader(embedded, choice);
}

async function swiftShader(embedded: SwiftShader | null, choice: string): Promise<FoundAdapter> {
  if (!embedded) throw noAdapter();
  if (!systemHasVulkanLoader()) loadVulkanLoader(embedded.loader);
  process.env.VK_DRIVER_FILES = embedded.icd;
  process.env.VK_ICD_FILENAMES = embedded.icd;
  const adapter = await request([]);
  if (!adapter) throw noAdapter();
  const advice = choice === 'swiftshader' ? null : `Mesa's software adapter is about 10 times faster: ${INSTALL_MESA}`;
  return { adapter, choice: 'swiftshader', advice };
}

async function request(flags: string[]): Promise<GPUAdapter | null> {
  // Timestamps to the nanosecond: the default rounds them to 0.1 ms, against attacks that a local program can do without.
  const key = [process.env.VK_DRIVER_FILES ?? '', ...flags].join(' ');
  const gpu =
    instances.get(key) ??
    create([...flags, 'disable-dawn-features=timestamp_quantization', `enable-dawn-features=${HIDDEN}`]);
  instances.set(key, gpu);
  const withoutNoise = await stderrFilter();
  try {
    return await withoutNoise(() => gpu.requestAdapter({ powerPreference: 'high-performance' }));
  } catch {
    return null;
  }
}

function noAdapter(): DeitError {
  const fix =
    process.platform === 'linux'
      ? `install a Vulkan driver for your GPU, or Mesa's software driver: ${INSTALL_MESA}; ` +
        'or reinstall with optional dependencies (npm ci without --omit=optional) on x64 for the embedded one; ' +
        'the WebGPU bindings need glibc 2.34 or later'
      : 'update the graphics driver (Direct3D 12 on Windows, Metal on macOS)';
  return new DeitError('no-adapter', 'No WebGPU adapter was found, not even a software one.', {
    where: `${process.platform} ${process.arch}`,
    fix,
  });
}

/** dlopen by soname finds what Dawn would find. A library that is no Node addon "did not self-register": it is there. */
function systemHasVulkanLoader(): boolean {
  if (process.platform !== 'linux') return true;
  return tryLoad('libvulkan.so.1');
}

function loadVulkanLoader(path: string): void {
  if (existsSync(path)) tryLoad(path);
}

function tryLoad(library: string): boolean {
  // RTLD_NODELETE: Node closes the library again after the failed registration, and it has to stay.
  const RTLD_NODELETE = 0x1000;
  try {
    process.dlopen({ exports: {} }, library, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
    return true;
  } catch (error) {
    // Deno loads no library by its name alone: whether it is there is seen when Dawn looks for adapters.
    return /did not self-register|Invalid path/.test(String(error));
  }
}
