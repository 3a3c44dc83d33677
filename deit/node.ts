/** All of `deit-webgpu/deit`, with what needs files: data sets, checkpoints, whole training runs. */
export * from './index.ts';
export * from './data/node/index.ts';
export { metricsCsv, readRun, writeReport } from './report/node/run-files.ts';
export type { Run } from './report/run.ts';
export { openCheckpoint, saveModel } from './train/node/checkpoint.ts';
export { evaluationOf } from './weights/model-card.ts';
export type { HeldOut, ModelCard } from './weights/model-card.ts';
export { openModel } from './train/node/open-model.ts';
export type { ImageInput, OpenModelOptions } from './train/node/open-model.ts';
export { RunFolder } from './train/node/run-folder.ts';
export { openSources } from './train/node/sources.ts';
export { Interrupted } from './train/node/train-model.ts';
export type { Reporter, StepProfile } from './train/node/train-model.ts';
export { trainRecipe } from './train/node/training-run.ts';
export type { RunOptions, TrainResult, TrainedRun } from './train/node/training-run.ts';
