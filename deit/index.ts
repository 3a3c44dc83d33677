/** DeiT, RegNetY, distillation, recipes and training, for browsers; `deit-webgpu/deit` resolves to node.ts in Node. */
export * from './data/index.ts';
export { distillationLoss } from './distillation.ts';
export type { Distillation, Losses, Target } from './distillation.ts';
export * from './models/index.ts';
export { nestRecipe, parseAssignment, parseRecipe, resolveRecipe } from './recipe/resolve.ts';
export type { Overrides } from './recipe/resolve.ts';
export { defaultRecipe, settingNames, settings } from './recipe/settings.ts';
export type { Recipe, Setting, SettingName, SettingValue } from './recipe/settings.ts';
export { attentionMaps, attentionRollout } from './report/attention.ts';
export type { AttentionMaps, HeadToken, TokenAttention } from './report/attention.ts';
export type { BatchSource } from './train/batches.ts';
export { Evaluator } from './train/evaluate.ts';
export type { Accuracy } from './train/tally.ts';
export { trainSteps } from './train/train-steps.ts';
export type { Length, StepProgress, TrainStepsOptions, TrainedStep } from './train/train-steps.ts';
export { TrainStep } from './train/step.ts';
export type { StepMetrics, TrainStepOptions } from './train/step.ts';
export * from './weights/index.ts';
