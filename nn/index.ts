/** Layers, optimizers, schedules and initial values, on the operators of deit-webgpu/engine. */
export { Module } from './module.ts';
export { readTensors, saveState, stateMismatch, stateValues, writeState } from './state.ts';
export type { Counter, LoadOptions, LoadReport, StateValue } from './state.ts';
export { initScope, kaimingUniform, normal, uniform } from './init.ts';
export { Linear } from './linear.ts';
export type { LinearOptions } from './linear.ts';
export { LayerNorm } from './layer-norm.ts';
export { learningRate, warmupCosine } from './schedule.ts';
export type { Schedule } from './schedule.ts';
export { decayGroups, isDecayed } from './param-groups.ts';
export type { DecayRule, ParameterGroup } from './param-groups.ts';
export { Optimizer } from './optim/optimizer.ts';
export type { OptimizerOptions } from './optim/optimizer.ts';
export { AdamW } from './optim/adamw.ts';
export type { AdamWSettings } from './optim/adamw.ts';
export { SGD } from './optim/sgd.ts';
export type { SgdSettings } from './optim/sgd.ts';
export { Ema } from './ema.ts';
