/** Every operator, one file a family. */
export { linear } from './linear.ts';
export { matmul } from './matmul.ts';
export type { MatmulOptions } from './matmul.ts';
export * from './optim.ts';
export * from './collect.ts';
export * from './gelu.ts';
export * from './softmax.ts';
export * from './tokens.ts';
export * from './layer-norm.ts';
export * from './unary.ts';
export * from './binary.ts';
export { amax, argmax, mean, sum } from './reduce.ts';
export * from './losses.ts';
