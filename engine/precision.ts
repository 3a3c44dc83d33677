/*
 * Mixed precision (Micikevicius et al., 2018) as operators declare it: see `autocast`. Everything here is carried out by
 * `apply` in op.ts and by the tape; an operator's own passes only read the dtypes of the tensors that they are given.
 */

/**
 * What an operator is given for an input of floats inside `autocast`:
 * - f32: the tensor in f32. What is f16 is converted on the tape, and its gradient with it.
 * - f16: the tensor rounded to f16, for a product. The gradient has the dtype of the tensor itself.
 * - weight: as f16, for a parameter whose gradient is always f32.
 * - any: the tensor as it is, f16 or f32.
 */
export type OperandType = 'f32' | 'f16' | 'weight' | 'any';

/** The element types of an operator inside `autocast`. Outside, floats are f32. */
export interface Precision {
  /** For each input, those that are left out f32; or for all of them. */
  readonly operands: OperandType | readonly OperandType[];
  /**
   * What `ctx.result` makes; f32 if left out.
   * - operand: the type of the first operand as it was given.
   * - consumer: f16 if the first operator that takes the result rounds it anyway, else f32. The operator's kernels are recorded
   *   when that is known: when the next command is recorded, at the latest. It has one result, of its first input's shape unless the
   *   operator has a `resultShape`.
   */
  readonly result?: 'f32' | 'operand' | 'consumer';
  /** f16: backward rounds the gradient of the result for its products, so whoever writes that gradient may do it too. */
  readonly gradient?: 'f32' | 'f16';
}

/** What input number `input` is given as. */
export const operandType = (precision: Precision | undefined, input: number): OperandType => {
  const operands = precision?.operands ?? 'f32';
  return typeof operands === 'string' ? operands : (operands[input] ?? 'f32');
};
