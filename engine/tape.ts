import { cast } from '../kernels/cast/index.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel } from '../kernels/lib/kernel.ts';
import { scaleChannelsForward } from '../kernels/scale-channels/index.ts';
import { toF16 } from './autocast.ts';
import type { DType } from './dtype.ts';
import { GradientTable, accumulate } from './gradient-table.ts';
import type { Gradient } from './gradient-table.ts';
import type { Precision } from './precision.ts';
import { expectShape } from './tensor-shape.ts';
import type { Shape } from './tensor-shape.ts';
import { Tensor } from './tensor.ts';
import type { TensorEngine } from './tensor.ts';
import type { Workspace } from './workspace.ts';

declare module './tensor.ts' {
  interface Tensor {
    /** The tape's record of the operator that made this, and which of its outputs it is; null for a leaf. */
    node: TapeNode | null;
    outputIndex: number;
  }
}

Object.defineProperties(Tensor.prototype, {
  node: { value: null, writable: true },
  outputIndex: { value: 0, writable: true },
});

/** What the tape knows of an operator: see `OpDefinition`, which adds the forward pass. */
export interface Differentiable<Attributes extends object> {
  readonly name: string;
  /** Its element types inside `autocast`; where this is left out, all are f32. */
  readonly precision?: Precision;
  /**
   * Records the kernels that turn gradients of the outputs (null where nothing used one) into gradients of the inputs.
   * `null` says that the operator has no derivative: to use it upstream of a gradient is an error.
   */
  readonly backward: ((ctx: BackwardContext<Attributes>, gradOutputs: readonly (Tensor | null)[]) => void) | null;
}

/** One applied operator: what backward needs of it. */
export interface TapeNode {
  /** Ascending in the order of recording, so that descending ids are a topological order of the backward pass. */
  readonly id: number;
  readonly definition: Differentiable<object>;
  /** The module that called the operator: see `Engine.within`. */
  readonly path: string;
  readonly attributes: object;
  /** Inputs that require a gradient; null where none is wanted. */
  readonly inputs: readonly (Tensor | null)[];
  readonly inputShapes: readonly (Shape | null)[];
  readonly outputShapes: readonly Shape[];
  /** Whether backward rounds the gradient of its only result to f16. */
  readonly roundsGradient: boolean;
  /** What forward saved for backward. Empty until forward has been recorded. */
  readonly kept: Kept;
}

export interface Kept {
  saved: readonly Tensor[];
  /** At which versions. */
  savedVersions: readonly number[];
  /** By what backward multiplies the rows of the gradient of its only result, if anything. */
  rowScale: Tensor | null;
}

/** What an operator's backward pass works with. */
export class BackwardContext<Attributes extends object> implements Workspace {
  /** Gradients to be added to others: only once the kernels that write them have been recorded. */
  private readonly additions: [Tensor, Gradient][] = [];
  /** Destinations that were handed out. */
  readonly written: Tensor[] = [];

  constructor(
    private readonly engine: TensorEngine,
    private readonly node: TapeNode,
    private readonly gradients: GradientTable,
    private readonly outputs: readonly (Gradient | undefined)[],
  ) {}

  get attributes(): Attributes {
    return this.node.attributes as Attributes;
  }

  /** Tensors in the order in which forward saved them. */
  get saved(): readonly Tensor[] {
    return this.node.kept.saved;
  }

  inputShape(input: number): Shape {
    return this.node.inputShapes[input]!;
  }

  /** Whether input number `input` wants a gradient. */
  needs(input: number): boolean {
    return this.node.inputs[input] !== null;
  }

  /** A destination for the gradient of an input, of its dtype: backward writes every element of it. */
  gradient(input: number): Tensor {
    return this.destination(this.target(input));
  }

  /**
   * As `gradient`. If the operator that made the input takes this gradient in f16, or its rows scaled (`forProducts`), there
   * is a second destination for that, and what to scale its rows by; which saves that operator a pass.
   */
  gradientAndOperand(input: number): { dx: Tensor; operand: Tensor | null; rowScale: Tensor | null } {
    const target = this.target(input);
    const { node, dtype, shape } = target;
    const rowScale = node?.kept.rowScale ?? null;
    if (dtype !== 'f32' || !(node?.roundsGradient || rowScale)) {
      return { dx: this.destination(target), operand: null, rowScale: null };
    }
    const operand = this.engine.empty(shape, node?.roundsGradient ? 'f16' : 'f32', 'gradient');
    return { dx: this.destination(target, operand), operand, rowScale };
  }

  /**
   * `dy`, the gradient of the only result, for products: its rows scaled if forward said so (`scaleGradient`), and in f16 if
   * the operator declares that and was under `autocast`.
   */
  forProducts(dy: Tensor): Tensor {
    const { roundsGradient, kept } = this.node;
    const operand = this.outputs[0]?.operand;
    if (operand) return operand;
    if (!kept.rowScale) return roundsGradient ? toF16(this, dy) : dy;
    const batch = kept.rowScale.size;
    const shape = { batch, channels: 1, plane: dy.size / batch, ...(roundsGradient && { f16: ['y'] }) };
    const y = this.empty(dy.shape, roundsGradient ? 'f16' : 'f32');
    this.run(scaleChannelsForward, shape, { x: dy, gate: kept.rowScale, y });
    return y;
  }

  private destination(target: Tensor, operand?: Tensor): Tensor {
    const home = this.gradients.homeFor(target);
    const tensor = home ?? this.engine.empty(target.shape, target.dtype, 'gradient');
    this.add(target, { tensor, owned: true, operand });
    this.written.push(tensor);
    return tensor;
  }

  /** Hands on an existing tensor as the gradient of an input; it must not be written to afterwards. */
  pass(input: number, gradient: Tensor): void {
    const target = this.target(input);
    expectShape(gradient.shape, target.shape, `backward of ${this.node.definition.name}`, `gradient ${input}`);
    expectDtype(gradient, target, `backward of ${this.node.definition.name}, gradient ${input}`);
    this.add(target, { tensor: gradient, owned: false });
  }

  /**
   * What has reached this input so far from other uses, if anything. Taking it obliges backward to include it in what
   * it writes to `gradient(input)`: saves the separate addition at a residual connection. Leaves have none to take: what
   * reached them may already lie where `gradient(input)` will be written.
   */
  takePending(input: number): Tensor | null {
    const target = this.target(input);
    return target.node ? (this.gradients.take(target)?.tensor ?? null) : null;
  }

  /** An uninitialised tensor for intermediate results. */
  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.engine.empty(shape, dtype);
  }

  run<Problem extends object>(
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void {
    this.engine.run(`${this.node.definition.name}.backward`, kernel, problem, tensors);
  }

  /** Adds up gradients that meet, after backward has recorded its kernels. */
  finish(): void {
    for (const [target, gradient] of this.additions) this.gradients.add(target, gradient);
  }

  private add(target: Tensor, gradient: Gradient): void {
    if (this.gradients.has(target)) this.additions.push([target, gradient]);
    else this.gradients.add(target, gradient);
  }

  private target(input: number): Tensor {
    const target = this.node.inputs[input];
    if (!target) {
      throw new DeitError('bad-argument', 'Backward wrote a gradient that nothing asked for.', {
        where: `backward of ${this.node.definition.name}, input ${input}`,
        fix: 'test ctx.needs(input) first',
      });
    }
    return target;
  }
}

/** See `Tensor.backward`. */
export function backward(root: Tensor, gradient?: Tensor, delivered?: (leaf: Tensor) => void): void {
  const { engine } = root;
  if (!root.requiresGrad) {
    throw new DeitError('no-gradient', 'backward() was called on a tensor that depends on nothing differentiable.', {
      where: root.toString(),
      fix: 'mark parameters with requiresGrad_(), and do not compute the loss under noGrad',
    });
  }
  if (gradient) {
    expectShape(gradient.shape, root.shape, 'backward', 'the upstream gradient');
    expectDtype(gradient, root, 'backward, the upstream gradient');
  } else if (root.size !== 1) {
    throw new DeitError('shape-mismatch', 'backward() without an upstream gradient starts from a scalar.', {
      where: root.toString(),
      fix: 'reduce to a scalar first, or pass the upstream gradient',
    });
  }
  const gradients = new GradientTable(engine);
  const pass = (): void => {
    gradients.add(root, { tensor: gradient ?? ones(root), owned: false });
    const nodes = reachable(root);
    const uses = usesOfLeaves(nodes);
    const handOver = (leaf: Tensor): void => {
      deliver(engine, leaf, gradients.ofLeaf(leaf));
      // By this pass, or by one of a recomputed segment within it.
      if (leaf.grad) delivered?.(leaf);
    };
    for (const node of nodes) {
      const outputs = gradients.ofNode(node);
      if (outputs) differentiate(node, gradients, outputs);
      for (const leaf of leavesOf(node)) {
        const left = uses.get(leaf)! - 1;
        uses.set(leaf, left);
        if (left === 0) handOver(leaf);
      }
    }
    if (!root.node) handOver(root);
  };
  engine.wholly(() => engine.noGrad(pass));
}

/** Records the backward pass of one operator. */
function differentiate(node: TapeNode, gradients: GradientTable, outputs: readonly (Gradient | undefined)[]): void {
  const { definition } = node;
  if (!definition.backward) throw withoutBackward(definition.name);
  checkSaved(node);
  const { engine } = gradients;
  const ctx = new BackwardContext(engine, node, gradients, outputs);
  const recordBackward = definition.backward.bind(definition);
  engine.within(node.path, () => {
    recordBackward(
      ctx,
      node.outputShapes.map((_, i) => outputs[i]?.tensor ?? null),
    );
    engine.checks?.check(`${definition.name}.backward`, ctx.written);
    ctx.finish();
  });
  const { kept } = node;
  const { saved } = kept;
  engine.undoIfFailed(() => (kept.saved = saved));
  kept.saved = [];
}

/** The leaves that an operator was called with, once for each time. */
const leavesOf = (node: TapeNode): Tensor[] => node.inputs.filter((input) => input !== null && !input.node) as Tensor[];

/** How often each leaf is used: after the last use, counted from the end, its gradient is complete. */
function usesOfLeaves(nodes: readonly TapeNode[]): Map<Tensor, number> {
  const uses = new Map<Tensor, number>();
  for (const leaf of nodes.flatMap(leavesOf)) uses.set(leaf, (uses.get(leaf) ?? 0) + 1);
  return uses;
}

/** The gradient of a scalar with respect to itself. */
function ones({ engine, shape, dtype }: Tensor): Tensor {
  const one = engine.full(shape, 1);
  if (dtype === 'f32') return one;
  const y = engine.empty(shape, dtype);
  engine.run('backward', cast, { n: y.size, from: 'f32', to: dtype }, { x: one, y });
  return y;
}

/** A gradient has the dtype of what it belongs to. */
function expectDtype(gradient: Tensor, { dtype }: Tensor, where: string): void {
  if (gradient.dtype === dtype) return;
  throw new DeitError('dtype-mismatch', 'A gradient has the dtype of its tensor.', {
    where,
    expected: dtype,
    found: gradient.dtype,
  });
}

function deliver(engine: TensorEngine, leaf: Tensor, gradient: Gradient | undefined): void {
  if (!gradient) return;
  if (leaf.grad) {
    accumulate(leaf.grad, gradient.tensor);
    return;
  }
  if (leaf.gradHome && gradient.tensor !== leaf.gradHome) {
    engine.copy(gradient.tensor, leaf.gradHome);
    leaf.grad = leaf.gradHome;
    return;
  }
  // A gradient that was handed on may be somebody else's too; the leaf's own is added to in place later.
  if (gradient.owned) leaf.grad = gradient.tensor;
  else {
    leaf.grad = engine.empty(leaf.shape, leaf.dtype, 'gradient');
    engine.copy(gradient.tensor, leaf.grad);
  }
  engine.forgetGradAtScopeEnd(leaf);
}

/** Nodes upstream of `root`, latest first: every use of a result comes before the node that made it. */
function reachable(root: Tensor): TapeNode[] {
  const seen = new Set<TapeNode>();
  const stack = root.node ? [root.node] : [];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) if (input?.node) stack.push(input.node);
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

function checkSaved({ definition, kept: { saved, savedVersions } }: TapeNode): void {
  if (saved.length < savedVersions.length) {
    throw new DeitError('tape-modified', 'backward() passed here before, and what forward had saved was let go of.', {
      where: definition.name,
      fix: 'add up the losses and call backward() once, or compute forward again',
    });
  }
  saved.forEach((tensor, i) => {
    if (tensor.storage.version === savedVersions[i]) return;
    throw new DeitError('tape-modified', 'A tensor that backward needs was modified in place after forward.', {
      where: `${definition.name}, saved tensor ${i} ${tensor.toString()}`,
      fix: 'call backward() before the optimizer step, or clone the tensor before changing it',
    });
  });
}

export const withoutBackward = (name: string): DeitError =>
  new DeitError('no-gradient', `The operator ${name} has no backward pass, but a gradient is needed through it.`, {
    where: name,
    fix: 'call it on detach()ed tensors or inside engine.noGrad(...)',
  });
