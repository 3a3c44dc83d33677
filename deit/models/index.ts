/** Models by name, and without a GPU. */
export { VisionTransformer } from './deit.ts';
export type { DeitOutput } from './deit.ts';
export { deitConfig } from './deit-config.ts';
export type { DeitConfig } from './deit-config.ts';
export type { Classifier, Logits } from './classifier.ts';
export { RegNetY } from './regnety.ts';
export { regnetyConfig } from './regnety-config.ts';
export type { RegNetYConfig } from './regnety-config.ts';
export { createModel, describeModel, modelNames, registerModel, summarizeModel } from './registry.ts';
export type { ModelFacts, ModelOverrides, OwnModel, OwnModelConfig } from './registry.ts';
