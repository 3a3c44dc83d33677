/** The whole package for browsers: `deit-webgpu` resolves to package-node.ts in Node, with the same names and what needs files. */
export * from '../engine/index.ts';
export * from '../nn/index.ts';
export * from './index.ts';
/** Of tensors; the one of pictures is in `deit-webgpu/deit`. */
export { pad } from '../engine/index.ts';
