import { fill } from '../kernels/fill/index.ts';
import { floatBits } from '../kernels/lib/broadcast.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import type { DType } from './dtype.ts';
import { bytesPerElement, expectDType, paddedBytes } from './dtype.ts';
import { Dispatcher } from './dispatcher.ts';
import { OutputChecks } from './output-checks.ts';
import { DeviceWatch } from './device-watch.ts';
import type { AdapterReport, GpuContext } from './gpu/context.ts';
import { dryContext } from './gpu/dry.ts';
import type { DryCommand, LargestBinding } from './gpu/dry.ts';
import { formatBytes } from './gpu/buffer-pool.ts';
import type { MemoryReport } from './gpu/buffer-pool.ts';
import { expectTimestamps, profiled } from './gpu/profiler.ts';
import type { DispatchTime } from './gpu/profiler.ts';
import { Recorder } from './gpu/recorder.ts';
import type { Recording } from './gpu/recording.ts';
import type { Storage } from './gpu/storage.ts';
import type { EngineOptions } from './options.ts';
import { flatten } from './nested.ts';
import type { TensorData } from './nested.ts';
import { pack } from './flat-buffers.ts';
import { expectSynchronous } from './scopes.ts';
import { expectSizes, numel } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';
import { Staging } from './staging.ts';
import { Tensor } from './tensor.ts';
import type { Recorded, TensorEngine } from './tensor.ts';
import { Transfers } from './transfers.ts';
import { VariantTable } from './variants.ts';
import { Work } from './work.ts';

/** An engine that runs nothing, and what it would have run so far: see `Engine.dry`. */
export interface DryRun {
  readonly engine: Engine;
  readonly largestBinding: Readonly<LargestBinding>;
  /** What was handed to the device, in order; what is recorded is handed over by `engine.idle()`. */
  readonly commands: readonly DryCommand[];
}

/** Owns a GPU device and everything made on it. Close it and the process can end. */
export class Engine implements TensorEngine {
  /** Whether operators record what backward needs. See `noGrad`. */
  gradEnabled = true;
  f16Copies: Map<Tensor, Tensor> | null = null;
  readonly seed: number;
  /** Most bytes of GPU memory that this engine allocates; Infinity without a limit. */
  readonly memoryBudget: number;
  /** The step counter that random kernels read: kept on the GPU, so that a replayed step draws afresh. */
  readonly step: Tensor;
  /** @internal */
  readonly placeholders: { readonly input: Tensor; readonly output: Tensor };
  /** Variants that were chosen by measurement; empty unless asked for. */
  readonly variants: VariantTable;
  /** What passes between host and GPU in the middle of recorded steps. */
  readonly staging: Staging;
  private readonly context: GpuContext;
  private readonly recorder: Recorder;
  private readonly onClose: (() => void) | undefined;
  private readonly dispatcher: Dispatcher;
  /** @internal In debug mode. */
  readonly checks: OutputChecks | null;
  private readonly work: Work;
  private readonly transfers: Transfers;
  private readonly watch: DeviceWatch;

  constructor(context: GpuContext, options: EngineOptions = {}, variants?: VariantTable) {
    this.context = context;
    this.variants = variants ?? new VariantTable(context.report, context.profile, options);
    this.onClose = options.onClose;
    this.seed = options.seed ?? 0;
    this.memoryBudget = options.memoryBudget ?? Infinity;
    const explain = (cause: unknown): Promise<DeitError> => this.watch.explain(cause);
    this.recorder = new Recorder(context, this.memoryBudget, options.debug ?? false, explain);
    this.work = new Work(this.recorder);
    this.dispatcher = new Dispatcher(
      this.recorder,
      context.profile,
      ({ elements, dtype }) => this.empty([elements], dtype),
      (access) => (access === 'read' ? this.placeholders.input : this.placeholders.output),
    );
    this.transfers = new Transfers(this.recorder);
    this.staging = new Staging(context.device, this.recorder.pool, this.recorder);
    this.watch = new DeviceWatch(context.device, (error) => this.recorder.fail(error));
    this.step = this.tensor([0], [1], 'u32').keep('engine');
    this.placeholders = { input: this.tensor([0]).keep('engine'), output: this.tensor([0]).keep('engine') };
    this.checks = this.work.checks = options.debug
      ? new OutputChecks(this, (error) => this.recorder.failures.note(error))
      : null;
  }

  /** What `console.log` shows in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Engine(${this.adapter.name}, ${formatBytes(this.memory().totalBytes)} of GPU memory)`;
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
    const { context, largestBinding, commands } = dryContext(this.context);
    return { engine: new Engine(context, { seed: this.seed }, this.variants), largestBinding, commands };
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
    this.work.throwIfClosed();
    expectSizes(shape);
    expectDType(dtype, 'a tensor');
    const bytes = paddedBytes(numel(shape) * bytesPerElement(dtype));
    const isTransient = this.work.isInScope;
    return new Tensor(this, this.allocate(bytes, isTransient ? label : 'kept', !isTransient), shape, dtype);
  }

  /** @internal Memory for `empty` and the like; `bytes` a multiple of 16. */
  allocate(bytes: number, label: string, isKept = true): Storage {
    return this.work.allocate(bytes, label, isKept);
  }

  /**
   * A tensor of the current scope from host data: a number, numbers in row-major order with a shape, or nested arrays. Throws
   * `bad-argument` for what is no number, and for nested arrays that are ragged.
   */
  tensor(data: TensorData, shape?: Shape, dtype: DType = 'f32'): Tensor {
    expectDType(dtype, 'tensor');
    const { values, shape: nesting } = flatten(data, 'tensor');
    const tensor = this.empty(shape ?? nesting, dtype);
    tensor.write(values);
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
    return this.work.scope(work);
  }

  /**
   * Runs `work` once, as a scope, and returns a recording that runs the same commands again on the same kept tensors,
   * without calling any operator. Inside, nothing may be uploaded or read back: write inputs to kept tensors before this
   * and before each replay, and read kept results after it.
   */
  record(work: () => void): Recording {
    return this.work.record(work);
  }

  /** Whether a step is being recorded for replay: nothing may be uploaded or read back. */
  get isRecording(): boolean {
    return this.work.isRecording;
  }

  /**
   * Runs `work` as a scope whose commands are never run, and has the kernels compiled that they need. Resolves to what went
   * wrong with one of these, or null. Inside, nothing may be read back.
   */
  compile(work: () => void): Promise<DeitError | null> {
    return this.work.compile(work);
  }

  /** Runs a recording again, after the work recorded so far. Throws `tensor-expired` if a tensor of it has been freed. */
  replay(recording: Recording): void {
    this.work.replay(recording);
  }

  /** @internal The gradient of a leaf lives in the scope; drop the reference when it ends. */
  forgetGradAtScopeEnd(leaf: Tensor): void {
    this.work.forgetGradAtEnd(leaf);
  }

  /** @internal Runs a part of a scope, or of what is outside of any, that leaves nothing behind if it throws. */
  wholly<Result>(work: () => Result): Result {
    return this.work.wholly(work);
  }

  /** @internal Has `takeBack` called if the scope under way throws. */
  undoIfFailed(takeBack: () => void): void {
    this.work.undoIfFailed(takeBack);
  }

  /** @internal See `Recorder`. */
  postpone = (result: Tensor): void => this.recorder.postpone(result);
  /** @internal See `Recorder`. */
  catchUp = (): void => this.recorder.catchUp();

  /** @internal See `Tensor.keep`. */
  keep(tensor: Tensor, label: string): void {
    this.work.keep(tensor.region.storage, label);
  }

  /** Gives back the memory of a kept tensor, once the work recorded so far is done with it. */
  free(tensor: Tensor): void {
    this.expectOwn('free', tensor);
    this.work.free(tensor.storage);
  }

  // ---- recording work

  /** Runs `work` with the tape switched off. */
  noGrad<Result>(work: () => Result): Result {
    expectSynchronous(work, 'noGrad');
    return this.withTape(false, work);
  }

  /** Runs `work` with the tape switched on, inside `noGrad` too. */
  withGrad<Result>(work: () => Result): Result {
    expectSynchronous(work, 'withGrad');
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
    this.work.throwIfClosed();
    this.expectOwn(op, ...Object.values(tensors));
    const variant = this.variants.find(kernel, problem);
    this.dispatcher.run(op, kernel, variant === null ? problem : { ...problem, variant }, tensors);
    this.work.flushIfLong();
  }

  /** Copies the content of one tensor to another of the same size and dtype. */
  copy(from: Tensor, to: Tensor): void {
    this.work.throwIfClosed();
    this.expectOwn('copy', from, to);
    this.transfers.copy(from, to);
    this.work.flushIfLong();
  }

  /** @internal See `Tensor.write`. */
  write(tensor: Tensor, data: Uint8Array<ArrayBuffer>): void {
    this.work.throwIfClosed();
    this.transfers.write(tensor, data, this.work.isRecording);
    this.work.flushIfLong();
  }

  /** @internal The content as it is at this point of the list, which somebody else hands over. */
  peek(tensor: Tensor): Promise<ArrayBuffer> {
    return this.transfers.peek(tensor);
  }

  /** @internal See `Tensor.read`. */
  read<Content>(tensor: Tensor, convert: (content: ArrayBuffer) => Content): Promise<Content> {
    this.work.throwIfClosed();
    const content = this.transfers.read(tensor, this.work.isRecording, convert);
    this.work.flush();
    return content;
  }

  /** Sets the step number that random kernels draw with. */
  setStep(step: number): void {
    this.step.write([step]);
  }

  /** Hands recorded work to the GPU without waiting for it. Inside a scope this happens at its end. */
  flush(): void {
    this.work.flush();
  }

  /** Waits until the GPU has done all recorded work, and throws what went wrong with it. */
  async idle(): Promise<void> {
    this.work.throwIfClosed();
    this.flush();
    await this.recorder.submitted();
    await this.context.device.queue.onSubmittedWorkDone();
    await this.checks?.looked;
    this.work.throwIfClosed();
    const error = this.recorder.failures.claim();
    if (error) throw error;
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
    if (this.work.isClosed) return;
    this.watch.end();
    this.work.close();
    this.onClose?.();
  }

  private expectOwn(where: string, ...tensors: readonly (Tensor | undefined)[]): void {
    const foreign = tensors.find((tensor) => tensor && tensor.engine !== this);
    if (!foreign) return;
    throw new DeitError('bad-argument', 'A tensor belongs to another engine.', {
      where,
      found: foreign.toString(),
      fix: 'read() it there, and make a tensor of the values here',
    });
  }
}
