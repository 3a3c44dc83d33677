import { accumulate as accumulateKernel, sumOf } from '../kernels/accumulate/index.ts';
import type { Tensor, TensorEngine } from './tensor.ts';

/** The tape's record of an operator, which declares it. */
type TapeNode = NonNullable<Tensor['node']>;

/** A gradient on its way to a tensor. An owned one was written for it alone and may be added to in place. */
export interface Gradient {
  tensor: Tensor;
  owned: boolean;
  /** The same as the operator that made the tensor takes it for its products, until something is added: see `forProducts`. */
  operand?: Tensor;
}

/** Gradients gathered so far. Results of an operator are keyed by node and output, leaves by themselves. */
export class GradientTable {
  private readonly table = new Map<TapeNode | Tensor, (Gradient | undefined)[]>();

  constructor(readonly engine: TensorEngine) {}

  private slots(target: Tensor): (Gradient | undefined)[] {
    const key = target.node ?? target;
    let slots = this.table.get(key);
    if (!slots) this.table.set(key, (slots = []));
    return slots;
  }

  has(target: Tensor): boolean {
    return this.slots(target)[target.outputIndex] !== undefined;
  }

  add(target: Tensor, incoming: Gradient): void {
    const slots = this.slots(target);
    const present = slots[target.outputIndex];
    if (!present) slots[target.outputIndex] = incoming;
    else if (present.owned) {
      accumulate(present.tensor, incoming.tensor);
      present.operand = undefined;
    } else if (incoming.owned) {
      accumulate(incoming.tensor, present.tensor);
      slots[target.outputIndex] = { tensor: incoming.tensor, owned: true };
    } else {
      const sum = sumOfGradients(present.tensor, incoming.tensor);
      slots[target.outputIndex] = { tensor: sum, owned: true };
    }
  }

  take(target: Tensor): Gradient | null {
    const slots = this.slots(target);
    const present = slots[target.outputIndex];
    slots[target.outputIndex] = undefined;
    return present ?? null;
  }

  /** A leaf's own place for its gradient, if it has one and nothing has been written there in this or an earlier pass. */
  homeFor(target: Tensor): Tensor | null {
    if (target.node || !target.gradHome || target.grad) return null;
    return this.slots(target)[0] ? null : target.gradHome;
  }

  ofNode(node: TapeNode): (Gradient | undefined)[] | null {
    const slots = this.table.get(node);
    if (!slots) return null;
    this.table.delete(node);
    return slots;
  }

  ofLeaf(leaf: Tensor): Gradient | undefined {
    return this.table.get(leaf)?.[0];
  }
}

/** total += source, of one shape and dtype. */
export function accumulate(total: Tensor, source: Tensor): void {
  if (total.size === 0) return;
  const problem = { n: total.size, f16: total.dtype === 'f16' };
  total.engine.run('accumulate', accumulateKernel, problem, { total, source });
}

/** A new tensor a + b, both of one shape and dtype. */
export function sumOfGradients(a: Tensor, b: Tensor): Tensor {
  const sum = a.engine.empty(a.shape, a.dtype, 'gradient');
  if (sum.size > 0) a.engine.run('sum', sumOf, { n: a.size, f16: a.dtype === 'f16' }, { a, b, sum });
  return sum;
}
