import { cast } from '../kernels/cast/index.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import { BLOCK_ELEMENTS } from '../kernels/lib/flat-update.ts';
import { LEFT_OUT, f16Copy } from '../kernels/f16-copy/index.ts';
import { expectSynchronous } from './scopes.ts';
import { Tensor } from './tensor.ts';
import type { TensorEngine } from './tensor.ts';
import type { Workspace } from './workspace.ts';

/*
 * Mixed precision (Micikevicius et al., 2018), by the rules of torch.autocast; each operator declares its part (`precision`,
 * see precision.ts). Products (linear, linearAdd, mlp, matmul, conv2d, patchEmbed) round their operands to f16, sum in f32,
 * and give f16 unless the result belongs to the f32 residual stream; attention, batch norm and stochastic depth take what
 * they get; norms give f16 to products. What backward keeps of them is f16, and so are gradients of f16 tensors. Everything
 * else is f32: other operators are given f16 tensors converted. Parameters, their gradients and the optimizer stay f32
 * ("master weights"); a region rounds each trained parameter once.
 */

/** f16 copies of parameters that were made in one region, by parameter. */
export type F16Copies = Map<Tensor, Tensor>;

/** Parameters in one flat buffer whose f16 copies are made together. */
export interface F16Part {
  /** The run of the flat buffer that holds them. */
  readonly source: Tensor;
  /** u32: see kernels/f16-copy. */
  readonly places: Tensor;
  /** Elements of the copy, and where each parameter's copy begins in it. */
  readonly elements: number;
  readonly members: ReadonlyMap<Tensor, number>;
}

/** The parameters together with which a region rounds this one, if there are such: see `shareF16Copies`. */
const f16Parts = new WeakMap<Tensor, F16Part>();

/**
 * Runs `work` with products in f16, as `torch.autocast` does; `enabled: false` switches that off inside. Wrap the forward pass,
 * not the backward pass: that follows suit. Gradients need a loss scale, or small ones round to zero: see `GradScaler` in
 * deit-webgpu/nn. Throws `feature-missing` on an adapter without `shader-f16`.
 */
export function autocast<Result>(engine: TensorEngine, work: () => Result, { enabled = true } = {}): Result {
  expectSynchronous(work, 'autocast');
  const outer = engine.f16Copies;
  if (enabled) expectF16(engine, 'autocast');
  return withCopies(engine, enabled ? (outer ?? new Map<Tensor, Tensor>()) : null, work);
}

/** Runs `work` in the region that `copies` are of, or outside any if that is null. */
export function withCopies<Result>(engine: TensorEngine, copies: F16Copies | null, work: () => Result): Result {
  const outer = engine.f16Copies;
  engine.f16Copies = copies;
  try {
    const result = work();
    engine.catchUp();
    return result;
  } finally {
    engine.f16Copies = outer;
  }
}

/** Throws `dtype-mismatch` unless the tensor is f32, or f16 inside `autocast`, where operators convert it. */
export function expectFloat(x: Tensor, where: string): void {
  if (x.dtype === 'f32' || (x.dtype === 'f16' && x.engine.f16Copies)) return;
  throw new DeitError('dtype-mismatch', 'The operator takes f32 tensors.', {
    where,
    expected: 'f32',
    found: x.toString(),
    fix: "convert with to(x, 'f32')",
  });
}

/** Throws `feature-missing` on an adapter without f16. */
export function expectF16(engine: TensorEngine, where: string): void {
  if (engine.profile.f16) return;
  throw new DeitError('feature-missing', 'This adapter has no f16.', {
    where,
    expected: 'the feature shader-f16',
    found: engine.adapter.name,
    fix: 'stay with f32, or use another adapter',
  });
}

/** x in f16, for the operand of a product: itself, the copy that this region has of it, or a new one. Not differentiable. */
export function toF16(ctx: Workspace, x: Tensor): Tensor {
  x.decide('f16');
  if (x.dtype === 'f16') return x;
  const copies = x.requiresGrad && !x.node ? x.engine.f16Copies : null;
  const known = copies?.get(x);
  if (known && !known.storage.expired) return known;
  const part = f16Parts.get(x);
  if (copies && part) {
    copyPart(ctx, part, copies);
    return copies.get(x)!;
  }
  const y = ctx.empty(x.shape, 'f16');
  ctx.run(cast, { n: x.size, from: 'f32', to: 'f16' }, { x, y });
  copies?.set(x, y);
  return y;
}

function copyPart(ctx: Workspace, { source, places, elements, members }: F16Part, copies: F16Copies): void {
  const y = ctx.empty([elements], 'f16');
  ctx.run(f16Copy, { n: source.size }, { x: source, places, y });
  for (const [parameter, first] of members) {
    copies.set(parameter, new Tensor(y.engine, y.storage, parameter.shape, 'f16', y.offset + 2 * first));
  }
}

/** Elements between the beginnings of f16 tensors that are bound by themselves: 256 bytes. */
const ALIGNMENT = 2 * BLOCK_ELEMENTS;

/**
 * Lets autocast round those of `parameters` that are matrices or weights of convolutions, all packed into `flat`, by one
 * dispatch a region. Returns what has to be freed when they are unpacked.
 */
export function shareF16Copies(parameters: readonly Tensor[], flat: Tensor): Tensor[] {
  const { engine } = flat;
  const blocksOf = (parameter: Tensor): number => Math.ceil(parameter.size / BLOCK_ELEMENTS);
  const tables: Tensor[] = [];
  let members = new Map<Tensor, number>();
  let elements = 0;
  const close = (): void => {
    const all = [...members.keys()];
    if (all.length === 0) return;
    const begin = Math.min(...all.map(({ offset }) => offset));
    const end = Math.max(...all.map((member) => member.offset + 4 * BLOCK_ELEMENTS * blocksOf(member)));
    const size = (end - begin) / 4;
    const words = new Uint32Array(size / BLOCK_ELEMENTS).fill(LEFT_OUT);
    for (const [member, first] of members) {
      const block = (member.offset - begin) / 4 / BLOCK_ELEMENTS;
      for (let i = 0; i < blocksOf(member); i++) words[block + i] = first / BLOCK_ELEMENTS + i;
    }
    const places = engine.tensor(words, [words.length], 'u32').keep('optimizer');
    tables.push(places);
    const source = new Tensor(engine, flat.storage, [size], 'f32', begin);
    const part: F16Part = { source, places, elements, members };
    for (const member of all) {
      const before = f16Parts.get(member);
      engine.undoIfFailed(() => (before ? f16Parts.set(member, before) : f16Parts.delete(member)));
      f16Parts.set(member, part);
    }
    members = new Map();
    elements = 0;
  };
  for (const parameter of parameters) {
    if (parameter.rank !== 2 && parameter.rank !== 4) continue;
    const size = ALIGNMENT * Math.ceil(parameter.size / ALIGNMENT);
    if (2 * (elements + size) > engine.profile.maxBindingSize) close();
    members.set(parameter, elements);
    elements += size;
  }
  close();
  return tables;
}

/** Undoes `shareF16Copies` for these parameters. */
export function unshareF16Copies(parameters: readonly Tensor[]): void {
  for (const parameter of parameters) f16Parts.delete(parameter);
}
