import { DeitError } from '../../kernels/lib/errors.ts';
import { isSoftwareAdapter } from './context.ts';

/** The browser's adapter. */
export async function browserAdapter(): Promise<GPUAdapter> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) {
    throw new DeitError('no-adapter', 'This browser offers no WebGPU adapter.', {
      found: gpu ? 'navigator.gpu without an adapter' : 'no navigator.gpu',
      fix: 'use a current Chrome, Edge, Firefox or Safari; on Linux Chrome may need --enable-unsafe-webgpu',
    });
  }
  return adapter;
}

export const browserAdvice = (adapter: GPUAdapter): string | null =>
  isSoftwareAdapter(adapter.info) ? "switch on hardware acceleration in the browser's settings" : null;
