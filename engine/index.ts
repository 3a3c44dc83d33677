/** The tensor engine, for browsers; `deit-webgpu/engine` resolves to node.ts in Node, which adds the choice of adapter. */
import { DeitError } from '../kernels/lib/errors.ts';
import { Engine } from './engine.ts';
import type { EngineOptions } from './options.ts';
import { browserAdapter, browserAdvice } from './gpu/browser.ts';
import { openContext, ownContext } from './gpu/context.ts';
import './constants.ts';
import './methods.ts';

export { DeitError, errorCatalogue, nearestName } from '../kernels/lib/errors.ts';
export type { ErrorCode, ErrorDetails } from '../kernels/lib/errors.ts';
export { PhiloxStream, Purpose, philox4x32 } from '../kernels/lib/philox.ts';
export { Engine } from './engine.ts';
export type { DryRun } from './engine.ts';
export { createDryEngine } from './dry-engine.ts';
export type { EngineOptions } from './options.ts';
export { autocast, expectF16, shareF16Copies, unshareF16Copies } from './autocast.ts';
export { Tensor } from './tensor.ts';
export type { Recorded, TensorEngine } from './tensor.ts';
export type { DType, TypedArray } from './dtype.ts';
export type { NestedArray, TensorData } from './nested.ts';
export {
  broadcastShapes,
  expectShape,
  formatShape,
  normalizeDim,
  numel,
  sameShape,
  unravelIndex,
} from './tensor-shape.ts';
export type { Shape } from './tensor-shape.ts';
export { defineOp, operators } from './op.ts';
export type { ForwardContext, Op, OpDefinition } from './op.ts';
export type { BackwardContext } from './tape.ts';
export type { Recording } from './gpu/recording.ts';
export type { Download, Receiver, Upload } from './gpu/staging-buffers.ts';
export type { AdapterReport } from './gpu/context.ts';
export type { MemoryReport } from './gpu/buffer-pool.ts';
export type { DispatchTime } from './gpu/profiler.ts';
export { measurePeak } from './peak.ts';
export type { Peak } from './peak.ts';
export { describeTuning, tune } from './tuner.ts';
export type { Measured, MeasuredVariant, TuneOptions, TuningReport } from './tuner.ts';
export { parseVariantChoices, variantChoicesOf } from './variants.ts';
export type { Asked, VariantChoices, VariantTable } from './variants.ts';
export { kernelOf } from '../kernels/lib/variant.ts';
export type { Tuning, Use, Variant, VariantKernel } from '../kernels/lib/variant.ts';
export { formatBytes } from './gpu/buffer-pool.ts';
export { parseStrictJson } from './json.ts';
export type { JsonObject, JsonValue } from './json.ts';
export * from './safetensors.ts';
export { f16ToNumber, numberToF16 } from './float16.ts';
/** For operators of your own: see `defineOp`. */
export { f32, i32, input, launch, output, u32 } from '../kernels/lib/kernel.ts';
export type { Kernel, Launch } from '../kernels/lib/kernel.ts';
export { elementwise } from '../kernels/lib/elementwise.ts';

/** Opens an engine on the browser's WebGPU adapter, or on the adapter or device that is given. Throws `no-adapter`. */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  const { adapter: given } = options;
  if (typeof given === 'object') return new Engine(await ownContext(given), options);
  if (given !== undefined) {
    throw new DeitError('bad-argument', 'In browsers an adapter has no name.', {
      where: 'createEngine, adapter',
      expected: 'a GPUAdapter, a GPUDevice, or nothing',
      found: given,
    });
  }
  const adapter = await browserAdapter();
  return new Engine(await openContext({ adapter, choice: 'browser', advice: browserAdvice(adapter) }), options);
}
export * from './ops/index.ts';
