import { cast } from '../kernels/cast/index.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import { isFloat } from './dtype.ts';
import type { DType } from './dtype.ts';
import type { Shape } from './tensor-shape.ts';
import type { Differentiable, TapeNode } from './tape.ts';
import { withoutBackward } from './tape.ts';
import { Tensor } from './tensor.ts';
import type { TensorEngine } from './tensor.ts';

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
  /** Takes f16 tensors as they are. Any other operator is given them converted to f32, inside `autocast`. */
  readonly f16?: boolean;
  /** Records the forward kernels and returns the outputs. Optional inputs may be null. */
  forward(ctx: ForwardContext<Attributes>, inputs: readonly (Tensor | null)[]): readonly Tensor[];
}

/** What an operator's forward pass works with. */
export class ForwardContext<Attributes extends object> {
  readonly saved: Tensor[] = [];

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

  /** An uninitialised tensor: a kernel must write every element of it. */
  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.engine.empty(shape, dtype);
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
}

export type Op<Attributes extends object> = (inputs: readonly (Tensor | null)[], attributes: Attributes) => Tensor[];

/** Operators by name, for documentation and for tests that walk all of them. */
export const operators = new Map<string, OpDefinition<object>>();

let nextNode = 1;

export function defineOp<Attributes extends object>(definition: OpDefinition<Attributes>): Op<Attributes> {
  operators.set(definition.name, definition as unknown as OpDefinition<object>);
  return (inputs, attributes) => apply(definition, definition.f16 ? inputs : promoted(inputs), attributes);
}

/** The operator behind `to`, which `autocast` applies to operands of the others. */
export const convert = defineOp<{ dtype: DType }>({
  name: 'to',
  f16: true,
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

/** Under autocast, f16 tensors as f32. */
function promoted(inputs: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
  const isF16 = (tensor: Tensor | null): boolean => tensor?.dtype === 'f16' && tensor.engine.f16Copies !== null;
  if (!inputs.some(isF16)) return inputs;
  return inputs.map((tensor) => (isF16(tensor) ? convert([tensor], { dtype: 'f32' })[0] : tensor));
}

function apply<Attributes extends object>(
  definition: OpDefinition<Attributes>,
  inputs: readonly (Tensor | null)[],
  attributes: Attributes,
): Tensor[] {
  const engine = inputs.find((tensor) => tensor instanceof Tensor)?.engine;
  if (!engine || inputs.some((tensor) => tensor !== null && !(tensor instanceof Tensor))) {
    throw new DeitError('bad-argument', 'The operands of an operator are tensors, or null where it allows that.', {
      where: definition.name,
      found: inputs.map((operand) => (operand instanceof Tensor ? operand.toString() : typeof operand)).join(', '),
      fix: 'make tensors of numbers with engine.tensor(...)',
    });
  }
  if (inputs.some((tensor) => tensor && tensor.engine !== engine)) {
    throw new DeitError('bad-argument', 'The operands belong to different engines.', { where: definition.name });
  }
  const needed = inputs.map((tensor) => engine.gradEnabled && tensor !== null && tensor.requiresGrad);
  const differentiable = needed.includes(true);
  if (differentiable && !definition.backward) throw withoutBackward(definition.name);
  const ctx = new ForwardContext(engine, definition.name, attributes, differentiable, needed);
  const results = engine.noGrad(() => definition.forward(ctx, inputs));
  // An operand that is handed on as the result has a history of its own.
  const outputs = Array.from(results, (tensor) => (inputs.includes(tensor) ? tensor.viewAs(tensor.shape) : tensor));
  engine.checks?.check(definition.name, outputs);
  if (differentiable) {
    const node: TapeNode = {
      id: nextNode++,
      definition: definition as unknown as OpDefinition<object>,
      path: engine.path,
      attributes,
      inputs: inputs.map((tensor, i) => (needed[i] ? tensor : null)),
      inputShapes: inputs.map((tensor) => tensor?.shape ?? null),
      outputShapes: outputs.map((tensor) => tensor.shape),
      saved: ctx.saved,
      savedVersions: ctx.saved.map((tensor) => tensor.storage.version),
    };
    outputs.forEach((tensor, i) => {
      tensor.requiresGrad = isFloat(tensor.dtype);
      tensor.node = node;
      tensor.outputIndex = i;
    });
  }
  return outputs;
}
