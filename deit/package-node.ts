/** The whole package in Node: engine, layers, models, data and training under one name. */
export * from '../engine/node.ts';
export * from '../nn/index.ts';
export * from './node.ts';
/** Of tensors; the one of pictures is in `deit-webgpu/deit`. */
export { pad } from '../engine/node.ts';
