import { DeitError } from '../../kernels/lib/errors.ts';
import { isSoftwareAdapter } from './context.ts';

/** The adapter of the browser, or of a runtime that has WebGPU. */
export async function browserAdapter(): Promise<GPUAdapter> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) {
    throw new DeitError('no-adapter', 'WebGPU offers no adapter here.', {
      found: gpu ? 'navigator.gpu without an adapter' : 'no navigator.gpu',
      fix: 'use a current Chrome, Edge, Firefox or Safari; on Linux Chrome may need --enable-unsafe-webgpu. In Node: the adapter auto',
    });
  }
  return adapter;
}

export const browserAdvice = (adapter: GPUAdapter): string | null =>
  isSoftwareAdapter(adapter.info) ? "switch on hardware acceleration in the browser's settings" : null;
