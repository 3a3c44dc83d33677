import type { DeviceProfile } from '../kernels/lib/device.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { ErrorDetails } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import type { DType, TypedArray } from './dtype.ts';
import { bytesOf, bytesPerElement, isFloat, numbers, paddedBytes, toTypedArray, typedArray } from './dtype.ts';
import type { Storage } from './gpu/storage.ts';
import type { Region } from './gpu/commands.ts';
import { flatten, formatGlimpse, glimpse, nest } from './nested.ts';
import type { Glimpse, NestedArray, TensorData } from './nested.ts';
import { formatShape, numel } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';

/** What one call of `Engine.run` recorded: see `Engine.observe`. */
export interface Recorded {
  readonly op: string;
  /** See `Engine.within`. */
  readonly path: string;
  readonly kernel: string;
  /** Tensors that the kernel writes to, by the names of its bindings. */
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/** What tensors, the tape and operators need of the engine that they are on: see `Engine`, which is all of it. */
export interface TensorEngine {
  readonly profile: DeviceProfile;
  readonly adapter: { readonly name: string };
  readonly seed: number;
  readonly step: Tensor;
  readonly path: string;
  /** Whether a step is being recorded for replay: nothing may be uploaded or read back. */
  readonly isRecording: boolean;
  gradEnabled: boolean;
  /** In a region of `autocast`, the f16 copies of parameters that it has made, by parameter; null outside. */
  f16Copies: Map<Tensor, Tensor> | null;
  /** @internal Bound where a kernel has an input or output that a problem does not use. Nothing is written to either. */
  readonly placeholders: { readonly input: Tensor; readonly output: Tensor };
  /** @internal In debug mode. */
  readonly checks: { check(what: string, results: readonly (Tensor | null)[]): void } | null;

  empty(shape: Shape, dtype?: DType, label?: string): Tensor;
  full(shape: Shape, value: number): Tensor;
  zeros(shape: Shape): Tensor;
  tensor(data: TensorData, shape?: Shape, dtype?: DType): Tensor;
  pack(tensors: readonly Tensor[], label: string): Tensor;
  free(tensor: Tensor): void;
  copy(from: Tensor, to: Tensor): void;
  run<Problem extends object>(
    op: string,
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void;
  scope<Result>(work: () => Result): Result;
  noGrad<Result>(work: () => Result): Result;
  withGrad<Result>(work: () => Result): Result;
  within<Result>(path: string, work: () => Result): Result;
  observe<Result>(observer: (recorded: Recorded) => void, work: () => Result): Result;

  /** @internal */
  allocate(bytes: number, label: string): Storage;
  /** @internal */
  keep(tensor: Tensor, label: string): void;
  /** @internal */
  write(tensor: Tensor, data: Uint8Array<ArrayBuffer>): void;
  /** @internal */
  read<Content>(tensor: Tensor, convert: (content: ArrayBuffer) => Content): Promise<Content>;
  /** @internal */
  peek(tensor: Tensor): Promise<ArrayBuffer>;
  /** @internal */
  wholly<Result>(work: () => Result): Result;
  /** @internal */
  undoIfFailed(takeBack: () => void): void;
  /** @internal */
  forgetGradAtScopeEnd(leaf: Tensor): void;
  /** @internal Has `result.decide()` called before anything else is recorded. */
  postpone(result: Tensor): void;
  /** @internal Records what was postponed. */
  catchUp(): void;
}

/**
 * An n-dimensional array in GPU memory, always contiguous in row-major order. Tensors made inside a scope live until
 * it ends, unless kept. Reading is asynchronous; everything else only records work.
 */
export class Tensor {
  readonly engine: TensorEngine;
  readonly shape: Shape;
  /** Offset in bytes into `storage`, a multiple of 256. */
  offset: number;
  private type: DType;
  private memory: Storage | null;
  /** Computes a result whose element type its first use decides; null once that has been done. */
  private compute: ((dtype: 'f32' | 'f16') => Tensor) | null = null;
  private needsGrad = false;
  private currentGrad: Tensor | null = null;
  /** What the host last knew of the content, and at which version of the storage. */
  private seen: { readonly version: number; readonly glimpse: Glimpse } | null = null;
  /** Where the optimizer wants this leaf's gradient written, if it does: a slice of one flat buffer. */
  gradHome: Tensor | null = null;

  constructor(engine: TensorEngine, storage: Storage | null, shape: Shape, dtype: DType, offset = 0) {
    this.engine = engine;
    this.memory = storage;
    this.shape = shape;
    this.type = dtype;
    this.offset = offset;
  }

  /** @internal A result that is computed when its element type is known: see `Precision.result`. */
  static undecided(engine: TensorEngine, shape: Shape, compute: (dtype: 'f32' | 'f16') => Tensor): Tensor {
    const tensor = new Tensor(engine, null, shape, 'f32');
    tensor.compute = compute;
    engine.postpone(tensor);
    return tensor;
  }

  /** @internal Computes a result whose element type was left to its first use. Does nothing to other tensors. */
  decide(dtype: 'f32' | 'f16' = 'f32'): void {
    const { compute } = this;
    if (!compute) return;
    this.compute = null;
    const computed = compute(dtype);
    this.memory = computed.storage;
    this.type = computed.dtype;
  }

  /** Of a norm's result under `autocast` it is f32 until a product takes it: see engine/MIXED-PRECISION.md. */
  get dtype(): DType {
    return this.type;
  }

  get storage(): Storage {
    this.decide();
    if (!this.memory) throw new DeitError('tensor-expired', ...expiry('failed', this.toString()));
    return this.memory;
  }

  set storage(storage: Storage) {
    this.memory = storage;
  }

  /** Ask for a gradient (parameters), or derived from something that does. Throws `dtype-mismatch` for integers. */
  get requiresGrad(): boolean {
    return this.needsGrad;
  }

  set requiresGrad(flag: boolean) {
    if (flag && !isFloat(this.dtype)) {
      throw new DeitError('dtype-mismatch', 'Only tensors of floating point numbers can require gradients.', {
        where: this.toString(),
        fix: 'convert it with to("f32")',
      });
    }
    this.needsGrad = flag;
  }

  /** Gradient of a leaf after `backward()`. */
  get grad(): Tensor | null {
    return this.currentGrad;
  }

  set grad(grad: Tensor | null) {
    const before = this.currentGrad;
    this.engine.undoIfFailed(() => (this.currentGrad = before));
    this.currentGrad = grad;
  }

  /** Number of elements. */
  get size(): number {
    return numel(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Bytes of the content without padding. */
  get bytes(): number {
    return this.size * bytesPerElement(this.dtype);
  }

  /** The memory of this tensor, padded to 16 bytes: kernels may read and write that padding. */
  get region(): Region {
    const { expired } = this.storage;
    if (expired) throw new DeitError('tensor-expired', ...expiry(expired, this.toString()));
    return { storage: this.storage, offset: this.offset, size: paddedBytes(this.bytes) };
  }

  /** A tensor of the same memory and another shape with as many elements; one size may be -1. Not differentiable: see `reshape`. */
  viewAs(shape: Shape): Tensor {
    if (numel(shape) !== this.size) {
      throw new DeitError('shape-mismatch', 'A view has as many elements as its tensor.', {
        where: 'view',
        expected: `${this.size} elements`,
        found: formatShape(shape),
      });
    }
    return new Tensor(this.engine, this.storage, shape, this.dtype, this.offset);
  }

  /** Elements `first` to `first + count` of a flat tensor as a target of `engine.copy`; kernels cannot bind it. */
  slot(first: number, count: number): Tensor {
    return new Tensor(
      this.engine,
      this.storage,
      [count],
      this.dtype,
      this.offset + first * bytesPerElement(this.dtype),
    );
  }

  /** The same values without history: no gradient flows through it. Shares memory. */
  detach(): Tensor {
    return this.viewAs(this.shape);
  }

  /** Marks a leaf as something to be differentiated with respect to, and returns it. */
  requiresGrad_(flag = true): this {
    if (this.node) {
      throw new DeitError('bad-argument', 'Only leaves can be told to require a gradient.', {
        where: this.toString(),
        fix: 'call detach() first',
      });
    }
    this.requiresGrad = flag;
    return this;
  }

  /** @internal From here on this tensor lives where `home` does, which has its content. */
  moveTo({ storage, offset }: Tensor): void {
    const before = { storage: this.storage, offset: this.offset };
    this.engine.undoIfFailed(() => Object.assign(this, before));
    Object.assign(this, { storage, offset });
  }

  /** Lets this tensor outlive its scope, accounted under `label`, until `engine.free`. */
  keep(label = 'kept'): this {
    this.engine.keep(this, label);
    return this;
  }

  /**
   * Replaces the content with host data of the same number of elements, in order with the work recorded so far. Throws
   * `bad-argument` for what is no number, and for nested arrays that are ragged.
   */
  write(data: TensorData): void {
    const { values } = flatten(data, `write to ${this.toString()}`);
    if (values.length !== this.size) {
      throw new DeitError('shape-mismatch', 'The data has not as many elements as the tensor.', {
        where: `write to ${this.toString()}`,
        expected: String(this.size),
        found: String(values.length),
      });
    }
    const typed = toTypedArray(values, this.dtype);
    this.engine.write(this, bytesOf(typed));
    this.see(typed);
  }

  /** The content, once the work recorded so far is done. f16 comes as bit patterns. */
  read(): Promise<TypedArray> {
    return this.readAs((values) => values);
  }

  /** The content as nested arrays (a number for the shape []), once the work recorded so far is done. */
  array<Nested extends NestedArray = NestedArray>(): Promise<Nested> {
    return this.readAs((values) => nest(numbers(this.dtype, values), this.shape) as Nested);
  }

  /** The value of a tensor of one element. */
  item(): Promise<number> {
    if (this.size !== 1) {
      throw new DeitError('shape-mismatch', 'item() takes a tensor of one element.', { found: this.toString() });
    }
    return this.readAs((values) => numbers(this.dtype, values)[0]);
  }

  private readAs<Content>(convert: (values: TypedArray) => Content): Promise<Content> {
    const { version } = this.storage;
    return this.engine.read(this, (content) => {
      const values = typedArray(this.dtype, content.slice(0, this.bytes));
      if (this.storage.version === version) this.see(values);
      return convert(values);
    });
  }

  /** Takes note of the content, for `console.log`. */
  private see(values: TypedArray): void {
    const before = this.seen;
    this.engine.undoIfFailed(() => (this.seen = before));
    this.seen = { version: this.storage.version, glimpse: glimpse(numbers(this.dtype, values), this.shape) };
  }

  toString(): string {
    return `Tensor(${formatShape(this.shape)}, ${this.dtype})`;
  }

  /**
   * What `console.log` shows in Node: shape, dtype, and the values if the host knows them, that is, if they were given by it or
   * read since they were last written to. Showing them cannot wait for the GPU.
   */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { seen, storage } = this;
    const notes = [formatShape(this.shape), this.dtype, ...(this.requiresGrad ? ['requiresGrad'] : [])];
    const head = `Tensor(${notes.join(', ')})`;
    if (storage.expired) return `${head} (released)`;
    if (seen?.version === storage.version) return `${head}\n${formatGlimpse(seen.glimpse)}`;
    return `${head} (on the GPU: await tensor.array() reads it)`;
  }
}

/** What to say of a tensor whose memory is gone. */
function expiry(reason: 'ended' | 'failed' | 'freed', where: string): [problem: string, details: ErrorDetails] {
  switch (reason) {
    case 'ended':
      return [
        'This tensor was released when the scope that made it ended.',
        { where, fix: 'call keep() on it inside the scope, or read() it there; scopes are synchronous' },
      ];
    case 'failed':
      return [
        'The scope that made this tensor did not run: it threw an error.',
        { where, fix: 'make the tensor again once the error is mended' },
      ];
    case 'freed':
      return ['This tensor has been freed.', { where, fix: 'free() it after its last use' }];
  }
}
