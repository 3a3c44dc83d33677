import { fill } from '../kernels/fill/index.ts';
import { floatBits } from '../kernels/lib/broadcast.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import type { HalfCopies } from './autocast.ts';
import type { DType } from './dtype.ts';
import { bytesPerElement, paddedBytes } from './dtype.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Recorded } from './dispatcher.ts';
import { OutputChecks } from './output-checks.ts';
import { DeviceWatch } from './device-watch.ts';
import type { AdapterReport, GpuContext } from './gpu/context.ts';
import { dryContext } from './gpu/dry.ts';
import type { DryRun } from './gpu/dry.ts';
import type { MemoryReport } from './gpu/buffer-pool.ts';
import { expectTimestamps, profiled } from './gpu/profiler.ts';
import type { DispatchTime } from './gpu/profiler.ts';
import { Recorder } from './gpu/recorder.ts';
import type { SubmittedBatch } from './gpu/recorder.ts';
import { Recording } from './gpu/recording.ts';
import { Storage } from './gpu/storage.ts';
import type { EngineOptions } from './options.ts';
import { pack } from './flat-buffers.ts';
import { expectSizes, numel } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';
import { ScopeStack } from './scopes.ts';
import { Staging } from './staging.ts';
import { Tensor } from './tensor.ts';
import { Transfers } from './transfers.ts';
import { VariantTable } from './variants.ts';

/** Work outside any scope is handed to the GPU when this much has piled up. */
const MAX_PENDING = 1024;

/** Owns a GPU device and everything made on it. Close it and the process can end. */
export class Engine {
  /** Whether operators record what backward needs. See `noGrad`. */
  gradEnabled = true;
  /** In a region of `autocast`, the f16 copies that it has made of parameters; null outside. */
  halfCopies: HalfCopies | null = null;
  readonly seed: number;
  /** Most bytes of GPU memory that this engine allocates; Infinity without a limit. */
  readonly memoryBudget: number;
  /** The step counter that random kernels read: kept on the GPU, so that a replayed step draws afresh. */
  readonly step: Tensor;
  /** @internal Bound where a kernel has an input or output that a problem does not use. Nothing is written to either. */
  readonly spare: { readonly input: Tensor; readonly output: Tensor };
  /** Ways to compute that were chosen by measurement; empty unless asked for. */
  readonly variants: VariantTable;
  /** What passes between host and GPU in the middle of recorded steps. */
  readonly staging: Staging;
  private readonly context: GpuContext;
  private readonly recorder: Recorder;
  private readonly onClose: (() => void) | undefined;
  private readonly dispatcher: Dispatcher;
  /** @internal In debug mode. */
  readonly checks: OutputChecks | null;
  private readonly scopes = new ScopeStack();
  private readonly transfers: Transfers;
  private readonly watch: DeviceWatch;
  private recording = false;
  private closed = false;

  constructor(context: GpuContext, options: EngineOptions = {}, variants?: VariantTable) {
    this.context = context;
    this.variants = variants ?? new VariantTable(context.report, context.profile, options.variants);
    this.onClose = options.onClose;
    this.seed = options.seed ?? 0;
    this.memoryBudget = options.memoryBudget ?? Infinity;
    this.recorder = new Recorder(context, this.memoryBudget, options.debug ?? false);
    this.dispatcher = new Dispatcher(this.recorder, context.profile);
    this.transfers = new Transfers(this.recorder);
    this.staging = new Staging(context.device, this.recorder.pool, this.recorder);
    this.watch = new DeviceWatch(context.device, (error) => this.recorder.fail(error));
    this.step = this.tensor([0], [1], 'u32').keep('engine');
    this.spare = { input: this.tensor([0]).keep('engine'), output: this.tensor([0]).keep('engine') };
    this.checks = options.debug ? new OutputChecks(this, (error) => this.recorder.fail(error)) : null;
  }

  get adapter(): AdapterReport {
    return this.context.report;
  }

  get profile() {
    return this.context.profile;
  }

  get limits(): GPUSupportedLimits {
    return this.context.limits;
  }

  /** GPU memory as the engine accounts for it, up to the last submitted list. */
  memory(): MemoryReport {
    return this.recorder.pool.report();
  }

  /**
   * An engine for the same adapter, without a budget, on which nothing runs: to see what memory something takes. It computes
   * by the same variants. Close it too.
   */
  dry(): DryRun {
    const { context, largestBinding } = dryContext(this.context);
    return { engine: new Engine(context, { seed: this.seed }, this.variants), largestBinding };
  }

  /**
   * The error `device-lost` if the device is gone, else null. To be asked when something else has gone wrong: what was under
   * way may have failed, for whatever reason, before the loss is known.
   */
  deviceLoss(): Promise<DeitError | null> {
    return this.watch.loss();
  }

  /** Destroys the device behind the engine's back, as a crash of the driver would: for drills. */
  loseDevice(): void {
    this.context.device.destroy();
  }

  resetPeakMemory(): void {
    this.recorder.pool.resetPeak();
  }

  /** Destroys pooled buffers that nothing uses, and returns how many bytes that freed. */
  trimMemory(): number {
    return this.recorder.pool.trim(-1);
  }

  get statistics(): { dispatches: number; submits: number; pipelines: number } {
    return { ...this.recorder.statistics, pipelines: this.recorder.pipelines.size };
  }

  // ---- making tensors

  /** An uninitialised tensor of the current scope. */
  empty(shape: Shape, dtype: DType = 'f32', label = 'activation'): Tensor {
    this.throwIfClosed();
    expectSizes(shape);
    const bytes = paddedBytes(numel(shape) * bytesPerElement(dtype));
    const isTransient = this.scopes.depth > 0;
    const storage = new Storage(bytes, isTransient ? label : 'kept', !isTransient);
    this.scopes.own(storage);
    return new Tensor(this, storage, shape, dtype);
  }

  /** A tensor of the current scope from host data in row-major order. */
  tensor(data: ArrayLike<number>, shape: Shape = [data.length], dtype: DType = 'f32'): Tensor {
    const tensor = this.empty(shape, dtype);
    tensor.write(data);
    return tensor;
  }

  /** A tensor filled with one value. */
  full(shape: Shape, value: number): Tensor {
    const y = this.empty(shape);
    if (y.size > 0) this.run('full', fill, { n: y.size, value, bits: floatBits(value) }, { y });
    return y;
  }

  zeros(shape: Shape): Tensor {
    return this.full(shape, 0);
  }

  /**
   * Moves kept tensors into one buffer, each at a 256-byte boundary, so that an update of all of them is one dispatch.
   * The tensors stay what they are; only their memory moves. Returns the buffer as a flat tensor.
   */
  pack(tensors: readonly Tensor[], label: string): Tensor {
    return pack(this, tensors, label);
  }

  // ---- scopes

  /**
   * Runs `work`, hands what it recorded to the GPU as one list, and lets go of every tensor that it made and did not
   * keep. `work` is synchronous: read with `read()` inside it and await the promise outside. If it throws, nothing
   * that it recorded runs.
   */
  scope<Result>(work: () => Result): Result {
    this.throwIfClosed();
    const outermost = this.scopes.depth === 0;
    if (outermost) this.submit();
    this.scopes.begin();
    let failed = true;
    try {
      const result = work();
      failed = false;
      return result;
    } catch (error) {
      if (outermost) this.recorder.discard(error);
      throw error;
    } finally {
      this.scopes.end();
      if (outermost && !failed) this.submit();
    }
  }

  /**
   * Runs `work` once as a scope and returns a recording that runs the same commands again on the same kept tensors,
   * without calling any operator. Inside, nothing may be uploaded or read back: write inputs to kept tensors before a
   * replay, and read kept results after it.
   */
  record(work: () => void): Recording {
    if (this.scopes.depth > 0) throw new DeitError('bad-argument', 'record() is called outside of any scope.');
    const recording = new Recording(this.recorder);
    this.submit();
    this.recording = true;
    this.scopes.begin();
    try {
      if (this.checks) this.checks.without(work);
      else work();
      this.recorder.flush((batch: SubmittedBatch) => recording.adopt(batch));
    } catch (error) {
      this.recorder.discard(error);
      throw error;
    } finally {
      this.recording = false;
      this.scopes.end();
    }
    return recording;
  }

  /**
   * Runs `work` as a scope whose commands are never run, and has the kernels compiled that they need. Resolves to what went
   * wrong with one of these, or null. Inside, nothing may be read back.
   */
  compile(work: () => void): Promise<DeitError | null> {
    if (this.scopes.depth > 0) throw new DeitError('bad-argument', 'compile() is called outside of any scope.');
    this.recorder.flush();
    this.scopes.begin();
    try {
      work();
    } finally {
      this.scopes.end();
    }
    return this.recorder.compile();
  }

  /** Runs a recording again, in order with the work recorded so far. */
  replay(recording: Recording): void {
    this.throwIfClosed();
    this.submit();
    recording.replay();
  }

  /** @internal The gradient of a leaf lives in the scope; drop the reference when it ends. */
  forgetGradAtScopeEnd(leaf: Tensor): void {
    this.scopes.forgetGradAtEnd(leaf);
  }

  /** @internal See `Tensor.keep`. */
  keep(tensor: Tensor, label: string): void {
    const { storage } = tensor.region;
    storage.kept = true;
    storage.label = label;
  }

  /** Gives back the memory of a kept tensor, once the work recorded so far is done with it. */
  free(tensor: Tensor): void {
    if (!tensor.storage.kept || tensor.storage.expired) return;
    this.recorder.record({ kind: 'free', storage: tensor.storage });
    tensor.storage.expired = true;
  }

  // ---- recording work

  /** Runs `work` with the tape switched off. */
  noGrad<Result>(work: () => Result): Result {
    return this.withTape(false, work);
  }

  /** Runs `work` with the tape switched on, inside `noGrad` too. */
  withGrad<Result>(work: () => Result): Result {
    return this.withTape(true, work);
  }

  private withTape<Result>(on: boolean, work: () => Result): Result {
    const before = this.gradEnabled;
    this.gradEnabled = on;
    try {
      return work();
    } finally {
      this.gradEnabled = before;
    }
  }

  /** Path of the module whose method is being called, where calls are traced; else empty. */
  get path(): string {
    return this.dispatcher.path;
  }

  /** Runs `work` with what it records, and the backward passes of that, marked as done by the module at `path`. */
  within<Result>(path: string, work: () => Result): Result {
    return this.dispatcher.within(path, work);
  }

  /** Runs `work` with `observer` told of every kernel that it records, just after; what the observer records is not observed. */
  observe<Result>(observer: (recorded: Recorded) => void, work: () => Result): Result {
    return this.dispatcher.observe(observer, work);
  }

  /** Records a kernel on tensors given by the names of its bindings. `op` is the operator's name for errors and profiles. */
  run<Problem extends object>(
    op: string,
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void {
    this.throwIfClosed();
    this.dispatcher.run(op, kernel, problem, tensors);
    this.flushIfLong();
  }

  /** Copies the content of one tensor to another of the same size and dtype. */
  copy(from: Tensor, to: Tensor): void {
    this.transfers.copy(from, to);
    this.flushIfLong();
  }

  /** @internal See `Tensor.write`. */
  write(tensor: Tensor, data: Uint8Array<ArrayBuffer>): void {
    this.throwIfClosed();
    this.transfers.write(tensor, data, this.recording);
    this.flushIfLong();
  }

  /** @internal The content as it is at this point of the list, which somebody else hands over. */
  peek(tensor: Tensor): Promise<ArrayBuffer> {
    return this.transfers.peek(tensor);
  }

  /** @internal See `Tensor.read`. */
  read(tensor: Tensor): Promise<ArrayBuffer> {
    this.throwIfClosed();
    const content = this.transfers.read(tensor, this.recording);
    if (this.scopes.depth === 0) this.submit();
    return content;
  }

  /** Sets the step number that random kernels draw with. */
  setStep(step: number): void {
    this.step.write([step]);
  }

  /** Hands recorded work to the GPU without waiting for it. Inside a scope this happens at its end. */
  flush(): void {
    if (this.scopes.depth === 0) this.submit();
  }

  /** Waits until the GPU has done all recorded work, and throws what went wrong with it. */
  async idle(): Promise<void> {
    this.throwIfClosed();
    this.flush();
    await this.recorder.submitted();
    await this.context.device.queue.onSubmittedWorkDone();
    await this.checks?.looked;
    this.recorder.throwIfFailed();
  }

  /**
   * Times every dispatch of what `work` records, by timestamps on the GPU, one compute pass a dispatch: kernels are timed
   * truly, the gaps between them are larger than otherwise. Throws `feature-missing` without `timestamp-query`.
   */
  async timeDispatches(work: () => void | Promise<void>): Promise<DispatchTime[]> {
    expectTimestamps(this.context);
    await this.idle();
    return profiled(this.context, this.recorder.encoder, async () => {
      await work();
      await this.idle();
    });
  }

  /** Destroys the device and all memory. Tensors of this engine are unusable afterwards. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.recorder.discard(new DeitError('engine-closed', 'The engine was closed before this was read.'));
    this.watch.end();
    this.recorder.destroy();
    this.onClose?.();
  }

  private flushIfLong(): void {
    if (this.scopes.depth === 0 && this.recorder.pending >= MAX_PENDING) this.submit();
  }

  private submit(): void {
    this.checks?.collect();
    this.recorder.flush();
  }

  private throwIfClosed(): void {
    if (this.closed) {
      throw new DeitError('engine-closed', 'The engine is closed.', { fix: 'open another with createEngine()' });
    }
    this.recorder.throwIfFailed();
  }
}
