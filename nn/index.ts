/** Layers, optimizers, schedules and initial values, on the operators of deit-webgpu/engine. */
export { Module } from './module.ts';
export type { Counter, LoadOptions, LoadReport, StateValue } from './module.ts';
export { initScope, kaimingUniform, normal, uniform } from './init.ts';
export { Linear } from './linear.ts';
export type { LinearOptions } from './linear.ts';
export { LayerNorm } from './layer-norm.ts';
