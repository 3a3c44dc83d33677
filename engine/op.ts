import { cast } from '../kernels/cast/index.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import { isFloat } from './dtype.ts';
import type { DType } from './dtype.ts';
import { toF16 } from './autocast.ts';
import { operandType } from './precision.ts';
import type { Precision } from './precision.ts';
import type { Shape } from './tensor-shape.ts';
import type { Differentiable, Kept, TapeNode } from './tape.ts';
import { withoutBackward } from './tape.ts';
import { Tensor } from './tensor.ts';
import type { TensorEngine } from './tensor.ts';
import type { Workspace } from './workspace.ts';

/**
 * An operator: a forward pass, what it saves, and its backward pass. The built-in operators and a user's own are
 * defined alike.
 *
 *     const square = defineOp<object>({
 *       name: 'square',
 *       forward(ctx, [x]) {
 *         const y = ctx.empty(x!.shape);
 *         ctx.run(squareForward, { n: x!.size }, { x: x!, y });
 *         ctx.save(x!);
 *         return [y];
 *       },
 *       backward(ctx, [dy]) {
 *         ctx.run(squareBackward, { n: dy!.size }, { x: ctx.saved[0], dy: dy!, dx: ctx.gradient(0) });
 *       },
 *     });
 *     const [y] = square([x], {});
 */
export interface OpDefinition<Attributes extends object> extends Differentiable<Attributes> {
  /** Records the forward kernels and returns the outputs. Optional inputs may be null. */
  forward(ctx: ForwardContext<Attributes>, inputs: readonly (Tensor | null)[]): readonly Tensor[];
  /** Of a result whose type is left to its consumer, where it has another shape than the first input. */
  readonly resultShape?: (attributes: Attributes) => Shape;
}

/** What an operator's forward pass works with. */
export class ForwardContext<Attributes extends object> implements Workspace {
  readonly saved: Tensor[] = [];
  /** See `scaleGradient`. */
  rowScale: Tensor | null = null;
  /** Element type of the result, by what the operator declares: see `Precision`. */
  resultType: 'f32' | 'f16' = 'f32';

  constructor(
    readonly engine: TensorEngine,
    private readonly name: string,
    readonly attributes: Attributes,
    /** Whether backward may follow: only then is there a reason to save anything. */
    readonly differentiable: boolean,
    private readonly needed: readonly boolean[],
  ) {}

  /** Whether input number `input` wants a gradient. */
  needs(input: number): boolean {
    return this.needed[input];
  }

  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.engine.empty(shape, dtype);
  }

  /** As `empty`, for the result. */
  result(shape: Shape): Tensor {
    return this.empty(shape, this.resultType);
  }

  run<Problem extends object>(
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void {
    this.engine.run(this.name, kernel, problem, tensors);
  }

  /** Saves tensors for the backward pass. */
  save(...tensors: Tensor[]): void {
    if (this.differentiable) this.saved.push(...tensors);
  }

  /** Saves one number for each row of the only result, by which `BackwardContext.forProducts` multiplies its gradient. */
  scaleGradient(rowScale: Tensor): void {
    this.save(rowScale);
    this.rowScale = rowScale;
  }
}

export type Op<Attributes extends object> = (inputs: readonly (Tensor | null)[], attributes: Attributes) => Tensor[];

/** Operators by name, for documentation and for tests that walk all of them. */
export const operators = new Map<string, OpDefinition<object>>();

let nextNode = 1;

export function defineOp<Attributes extends object>(definition: OpDefinition<Attributes>): Op<Attributes> {
  operators.set(definition.name, definition as unknown as OpDefinition<object>);
  return (inputs, attributes) => apply(definition, inF32(definition.precision, inputs), attributes);
}

/** The operator behind `to`, which `autocast` applies to operands of the others. */
export const convert = defineOp<{ dtype: DType }>({
  name: 'to',
  precision: { operands: 'any' },
  forward(ctx, [x]) {
    const { dtype } = ctx.attributes;
    const y = ctx.empty(x!.shape, dtype);
    if (y.size > 0) ctx.run(cast, { n: y.size, from: x!.dtype, to: dtype }, { x: x!, y });
    return [y];
  },
  backward(ctx, [dy]) {
    const { dtype } = ctx.attributes;
    const dx = ctx.gradient(0);
    if (dx.size > 0) ctx.run(cast, { n: dx.size, from: dtype, to: dx.dtype }, { x: dy!, y: dx });
  },
});

/** Under autocast, the inputs that are to be f32 (weights are rounded afterwards) converted on the tape. */
function inF32(precision: Precision | undefined, inputs: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
  const isConverted = (tensor: Tensor | null, input: number): tensor is Tensor => {
    if (!(tensor instanceof Tensor) || tensor.engine.f16Copies === null) return false;
    const type = operandType(precision, input);
    if (type === 'f32') tensor.decide();
    return tensor.dtype === 'f16' && (type === 'f32' || type === 'weight');
  };
  if (!inputs.some(isConverted)) return inputs;
  return inputs.map((tensor, i) => (isConverted(tensor, i) ? convert([tensor], { dtype: 'f32' })[0] : tensor));
}

/** Under autocast, the operands of products in f16. */
function inF16(
  ctx: Workspace,
  precision: Precision | undefined,
  inputs: readonly (Tensor | null)[],
): readonly (Tensor | null)[] {
  return inputs.map((tensor, i) =>
    tensor && ['f16', 'weight'].includes(operandType(precision, i)) ? toF16(ctx, tensor) : tensor,
  );
}

function apply<Attributes extends object>(
  definition: OpDefinition<Attributes>,
  inputs: readonly (Tensor | null)[],
  attributes: Attributes,
): Tensor[] {
  const { name, precision } = definition;
  const engine = inputs.find((tensor) => tensor instanceof Tensor)?.engine;
  if (!engine || inputs.some((tensor) => tensor !== null && !(tensor instanceof Tensor))) {
    throw new DeitError('bad-argument', 'The operands of an operator are tensors, or null where it allows that.', {
      where: name,
      found: inputs.map((operand) => (operand instanceof Tensor ? operand.toString() : typeof operand)).join(', '),
      fix: 'make tensors of numbers with engine.tensor(...)',
    });
  }
  if (inputs.some((tensor) => tensor && tensor.engine !== engine)) {
    throw new DeitError('bad-argument', 'The operands belong to different engines.', { where: name });
  }
  const needed = inputs.map((tensor) => engine.gradEnabled && tensor !== null && tensor.requiresGrad);
  const differentiable = needed.includes(true);
  if (differentiable && !definition.backward) throw withoutBackward(name);
  const { path } = engine;
  const isMixed = engine.f16Copies !== null;
  const kept: Kept = { saved: [], savedVersions: [], rowScale: null };
  const record = (consumer: 'f32' | 'f16'): Tensor[] => {
    const ctx = new ForwardContext(engine, name, attributes, differentiable, needed);
    const outputs = engine.noGrad(() => {
      const operands = isMixed ? inF16(ctx, precision, inputs) : inputs;
      if (precision?.result === 'consumer') ctx.resultType = consumer;
      else if (precision?.result === 'operand' && operands[0]?.dtype === 'f16') ctx.resultType = 'f16';
      const results = definition.forward(ctx, operands);
      // An operand that is handed on as the result has a history of its own.
      return Array.from(results, (tensor) => (operands.includes(tensor) ? tensor.viewAs(tensor.shape) : tensor));
    });
    engine.checks?.check(name, outputs);
    kept.saved = ctx.saved;
    kept.rowScale = ctx.rowScale;
    kept.savedVersions = ctx.saved.map((tensor) => tensor.storage.version);
    return outputs;
  };
  const isPostponed = isMixed && precision?.result === 'consumer';
  // Operands that are postponed themselves are recorded first: as what this operator takes.
  if (isPostponed) inputs.forEach((tensor, i) => operandType(precision, i) === 'f16' && tensor?.decide('f16'));
  const shape = definition.resultShape?.(attributes) ?? inputs[0]?.shape;
  const outputs = isPostponed
    ? [Tensor.undecided(engine, shape!, (dtype) => engine.within(path, () => record(dtype)[0]))]
    : record('f32');
  if (differentiable) {
    const node: TapeNode = {
      id: nextNode++,
      definition: definition as unknown as OpDefinition<object>,
      path,
      attributes,
      inputs: inputs.map((tensor, i) => (needed[i] ? tensor : null)),
      inputShapes: inputs.map((tensor) => tensor?.shape ?? null),
      outputShapes: outputs.map((tensor) => tensor.shape),
      roundsGradient: isMixed && precision?.gradient === 'f16',
      kept,
    };
    outputs.forEach((tensor, i) => {
      tensor.requiresGrad = isFloat(tensor.dtype);
      tensor.node = node;
      tensor.outputIndex = i;
    });
  }
  return outputs;
}
