import { DeitError } from '../kernels/lib/errors.ts';
import type { HalfPart } from './autocast.ts';
import type { DType, TypedArray } from './dtype.ts';
import { bytesPerElement, paddedBytes, toBytes, typedArray } from './dtype.ts';
import type { Engine } from './engine.ts';
import type { Storage } from './gpu/storage.ts';
import type { Region } from './gpu/recorder.ts';
import { formatShape, numel } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';
import type { TapeNode } from './tape.ts';
import { backward } from './tape.ts';

/**
 * An n-dimensional array in GPU memory, always contiguous in row-major order. Tensors made inside a scope live until
 * it ends, unless kept. Reading is asynchronous; everything else only records work.
 */
export class Tensor {
  readonly engine: Engine;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Offset in bytes into `storage`, a multiple of 256. */
  offset: number;
  storage: Storage;
  /** Ask for a gradient (parameters), or derived from something that does. */
  requiresGrad = false;
  /** Gradient of a leaf after `backward()`. */
  grad: Tensor | null = null;
  /** Where the optimizer wants this leaf's gradient written, if it does: a slice of one flat buffer. */
  gradHome: Tensor | null = null;
  /** The parameters together with which autocast rounds this one, if there are such: see `shareHalfCopies`. */
  halfPart: HalfPart | null = null;
  /** The tape's record of the operator that made this, and which of its outputs it is. */
  node: TapeNode | null = null;
  outputIndex = 0;

  constructor(engine: Engine, storage: Storage, shape: Shape, dtype: DType, offset = 0) {
    this.engine = engine;
    this.storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.offset = offset;
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
    if (this.storage.expired) {
      throw new DeitError('tensor-expired', 'This tensor was released when the scope that made it ended.', {
        where: this.toString(),
        fix: 'call keep() on it inside the scope, or read() it there',
      });
    }
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

  /** Lets this tensor outlive its scope, accounted under `label`, until `engine.free`. */
  keep(label = 'kept'): this {
    this.engine.keep(this, label);
    return this;
  }

  /** Replaces the content with host data of the same number of elements, in order with the work recorded so far. */
  write(data: ArrayLike<number>): void {
    if (data.length !== this.size) {
      throw new DeitError('shape-mismatch', 'The data has not as many elements as the tensor.', {
        where: `write to ${this.toString()}`,
        expected: String(this.size),
        found: String(data.length),
      });
    }
    this.engine.write(this, toBytes(data, this.dtype));
  }

  /** The content, once the work recorded so far is done. f16 comes as bit patterns. */
  read(): Promise<TypedArray> {
    return this.engine.read(this).then((content) => typedArray(this.dtype, content.slice(0, this.bytes)));
  }

  /** The value of a tensor of one element. */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new DeitError('shape-mismatch', 'item() takes a tensor of one element.', { found: this.toString() });
    }
    return (await this.read())[0];
  }

  /**
   * Reverse-mode differentiation from this scalar (or with the upstream gradient given) to every leaf that requires it.
   * `delivered` is told of each leaf when this pass has recorded all that goes into its gradient.
   */
  backward(gradient?: Tensor, delivered?: (leaf: Tensor) => void): void {
    backward(this, gradient, delivered);
  }

  toString(): string {
    return `Tensor(${formatShape(this.shape)}, ${this.dtype})`;
  }
}
