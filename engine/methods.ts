/** The operators as methods of tensors, named and with arguments as in PyTorch. Imported for its effect. */
import type { DType } from './dtype.ts';
import { argmax } from './ops/argmax.ts';
import { add, div, maximum, minimum, mul, pow, sub } from './ops/binary.ts';
import { to } from './ops/cast.ts';
import { gelu } from './ops/gelu.ts';
import { indexSelect } from './ops/index-select.ts';
import { matmul } from './ops/matmul.ts';
import type { MatmulOptions } from './ops/matmul.ts';
import { amax, mean, sum } from './ops/reduce.ts';
import { expand, flip, pad, permute, reshape, slice, transpose } from './ops/shape.ts';
import { logSoftmax, softmax } from './ops/softmax.ts';
import { abs, exp, log, neg, reciprocal, relu, rsqrt, sigmoid, silu, sqrt, square, tanh } from './ops/unary.ts';
import { backward } from './tape.ts';
import type { Shape } from './tensor-shape.ts';
import { Tensor } from './tensor.ts';

/** Sizes or dimensions, one by one or as one list. */
type Numbers = readonly number[] | readonly [readonly number[]];

declare module './tensor.ts' {
  interface Tensor {
    /**
     * Reverse-mode differentiation from this scalar (or with the upstream gradient given) to every leaf that requires it.
     * `delivered` is told of each leaf when this pass has recorded all that goes into its gradient.
     */
    backward(gradient?: Tensor, delivered?: (leaf: Tensor) => void): void;
    neg(): Tensor;
    exp(): Tensor;
    log(): Tensor;
    sqrt(): Tensor;
    rsqrt(): Tensor;
    reciprocal(): Tensor;
    abs(): Tensor;
    square(): Tensor;
    relu(): Tensor;
    sigmoid(): Tensor;
    tanh(): Tensor;
    silu(): Tensor;
    gelu(options?: Parameters<typeof gelu>[1]): Tensor;
    add(other: Tensor | number): Tensor;
    sub(other: Tensor | number): Tensor;
    mul(other: Tensor | number): Tensor;
    div(other: Tensor | number): Tensor;
    pow(exponent: Tensor | number): Tensor;
    maximum(other: Tensor | number): Tensor;
    minimum(other: Tensor | number): Tensor;
    matmul(other: Tensor, options?: MatmulOptions): Tensor;
    softmax(dim?: number): Tensor;
    logSoftmax(dim?: number): Tensor;
    sum(dims?: number | readonly number[], keepdim?: boolean): Tensor;
    mean(dims?: number | readonly number[], keepdim?: boolean): Tensor;
    amax(dims?: number | readonly number[], keepdim?: boolean): Tensor;
    argmax(dim?: number): Tensor;
    reshape(...shape: Numbers): Tensor;
    permute(...dims: Numbers): Tensor;
    expand(...shape: Numbers): Tensor;
    transpose(dim0: number, dim1: number): Tensor;
    slice(dim: number, start?: number, end?: number): Tensor;
    flip(dim: number): Tensor;
    pad(padding: readonly number[]): Tensor;
    indexSelect(dim: number, index: Tensor): Tensor;
    to(dtype: DType): Tensor;
  }
}

/** An operator whose first operand becomes `this`. */
function method<Rest extends unknown[]>(operator: (x: Tensor, ...rest: Rest) => Tensor) {
  return function (this: Tensor, ...rest: Rest): Tensor {
    return operator(this, ...rest);
  };
}

/** The same for an operator that takes a list of numbers. */
function listMethod(operator: (x: Tensor, list: Shape) => Tensor) {
  return function (this: Tensor, ...numbers: Numbers): Tensor {
    return operator(this, numbers.flat());
  };
}

const methods = {
  backward(this: Tensor, gradient?: Tensor, delivered?: (leaf: Tensor) => void): void {
    backward(this, gradient, delivered);
  },
  neg: method(neg),
  exp: method(exp),
  log: method(log),
  sqrt: method(sqrt),
  rsqrt: method(rsqrt),
  reciprocal: method(reciprocal),
  abs: method(abs),
  square: method(square),
  relu: method(relu),
  sigmoid: method(sigmoid),
  tanh: method(tanh),
  silu: method(silu),
  gelu: method(gelu),
  add: method(add),
  sub: method(sub),
  mul: method(mul),
  div: method(div),
  pow: method(pow),
  maximum: method(maximum),
  minimum: method(minimum),
  matmul: method(matmul),
  softmax: method(softmax),
  logSoftmax: method(logSoftmax),
  sum: method(sum),
  mean: method(mean),
  amax: method(amax),
  argmax: method(argmax),
  reshape: listMethod(reshape),
  permute: listMethod(permute),
  expand: listMethod(expand),
  transpose: method(transpose),
  slice: method(slice),
  flip: method(flip),
  pad: method(pad),
  indexSelect: method(indexSelect),
  to: method(to),
} satisfies Partial<Tensor>;

for (const [name, value] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, { value, configurable: true, writable: true });
}
