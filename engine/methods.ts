/** The operators as methods of tensors, named and with arguments as in PyTorch. Imported for its effect. */
import { argmax } from './ops/argmax.ts';
import * as binary from './ops/binary.ts';
import { to } from './ops/cast.ts';
import { cumsum } from './ops/cumsum.ts';
import { gather } from './ops/gather.ts';
import { gelu } from './ops/gelu.ts';
import { indexSelect } from './ops/index-select.ts';
import { matmul } from './ops/matmul.ts';
import { chunk, split, squeeze, unsqueeze } from './ops/parts.ts';
import { amax, mean, sum } from './ops/reduce.ts';
import { scatter, scatterAdd } from './ops/scatter.ts';
import { expand, flip, pad, permute, reshape, slice, transpose } from './ops/shape.ts';
import * as softmax from './ops/softmax.ts';
import { argsort, sort, topk } from './ops/sort.ts';
import type { ValuesAndIndices } from './ops/statistics.ts';
import { amin, argmin, logsumexp, max, min, norm, std, variance } from './ops/statistics.ts';
import * as unary from './ops/unary.ts';
import { where } from './ops/where.ts';
import { backward } from './tape.ts';
import type { Shape } from './tensor-shape.ts';
import { Tensor } from './tensor.ts';

/** Operators whose first operand becomes `this`: a new one in a family that is here whole is a method by that alone. */
const operators = {
  ...unary,
  ...binary,
  ...softmax,
  gelu,
  matmul,
  sum,
  mean,
  amax,
  argmax,
  amin,
  argmin,
  norm,
  std,
  var: variance,
  logsumexp,
  cumsum,
  sort,
  argsort,
  topk,
  gather,
  scatter,
  scatterAdd,
  squeeze,
  unsqueeze,
  split,
  chunk,
  transpose,
  slice,
  flip,
  pad,
  indexSelect,
  to,
};

/** The same for those that take a list of numbers, which may be given one by one. */
const listOperators = { reshape, permute, expand };

type Methods<Operators> = {
  [Name in keyof Operators]: Operators[Name] extends (x: Tensor, ...rest: infer Rest) => infer Result
    ? (...rest: Rest) => Result
    : never;
};

/** Sizes or dimensions, one by one or as one list. */
type Numbers = readonly number[] | readonly [readonly number[]];

type ListMethods = Record<keyof typeof listOperators, (...numbers: Numbers) => Tensor>;

declare module './tensor.ts' {
  interface Tensor extends Methods<typeof operators>, ListMethods {
    /**
     * Reverse-mode differentiation from this scalar (or with the upstream gradient given) to every leaf that requires it.
     * `delivered` is told of each leaf when this pass has recorded all that goes into its gradient.
     */
    backward(gradient?: Tensor, delivered?: (leaf: Tensor) => void): void;
    /** The largest element; with a dimension, the largest along it and its index. */
    max(): Tensor;
    max(dim: number, keepdim?: boolean): ValuesAndIndices;
    /** The smallest element; with a dimension, the smallest along it and its index. */
    min(): Tensor;
    min(dim: number, keepdim?: boolean): ValuesAndIndices;
    /** The elements of this where the condition holds (is not 0), else those of `other`. */
    where(condition: Tensor, other: Tensor | number): Tensor;
  }
}

/** As a method, `where` has its second operand as `this`. */
const elsewhere = (x: Tensor, condition: Tensor, other: Tensor | number): Tensor => where(condition, x, other);

type Operator = (x: Tensor, ...rest: unknown[]) => unknown;

function attach(name: string, value: (this: Tensor, ...rest: never[]) => unknown): void {
  Object.defineProperty(Tensor.prototype, name, { value, configurable: true, writable: true });
}

attach('backward', function (gradient?: Tensor, delivered?: (leaf: Tensor) => void) {
  backward(this, gradient, delivered);
});
for (const [name, operator] of Object.entries({ ...operators, max, min, where: elsewhere })) {
  attach(name, function (...rest) {
    return (operator as Operator)(this, ...rest);
  });
}
for (const [name, operator] of Object.entries<(x: Tensor, list: Shape) => Tensor>(listOperators)) {
  attach(name, function (...numbers: number[] | [number[]]) {
    return operator(this, numbers.flat());
  });
}
