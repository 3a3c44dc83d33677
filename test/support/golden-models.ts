/** The models of test/golden/models.json on the GPU, with the generator's weights. */
import type { Engine } from '../../engine/index.ts';
import type { Distillation } from '../../deit/distillation.ts';
import type { Classifier } from '../../deit/models/classifier.ts';
import { createModel } from '../../deit/models/registry.ts';
import { goldenJson } from './golden.ts';
import { weight } from './generator.ts';

export interface GoldenModel {
  key: string;
  file: string;
  family: 'deit' | 'regnety';
  distilled: boolean;
  batch: number;
  imageSize: number;
  classes: number;
  options: Record<string, number>;
  modes: Record<'train' | 'eval', string[]>;
  images: string;
  labels: string;
  teacher: string;
  gradients: 'full' | 'sketch';
  gradientNames: Record<string, string[]>;
}

interface Kind {
  distillation: Distillation['type'];
  alpha?: number;
  tau?: number;
  klScaling?: Distillation['scaling'];
}

const manifest = goldenJson<{ smoothing: number; kinds: Record<string, Kind>; models: GoldenModel[] }>('models.json');

export const goldenModels = manifest.models;
export const goldenSmoothing = manifest.smoothing;

export function goldenDistillation(kind: string): Distillation {
  const { distillation, alpha = 0, tau = 1, klScaling = 'all' } = manifest.kinds[kind];
  return { type: distillation, alpha, tau, scaling: klScaling };
}

/** The model's name for `createModel`. */
export function goldenSpec({ family, distilled, imageSize, classes, options }: GoldenModel): string {
  const pairs = { imageSize, classes, ...options };
  const name = family === 'regnety' ? 'regnety_002' : `deit_tiny_${distilled ? 'distilled_' : ''}patch16_224`;
  return [name, ...Object.entries(pairs).map(([key, value]) => `${key}=${value}`)].join(' ');
}

export function goldenModel(engine: Engine, golden: GoldenModel): Classifier {
  const model = createModel(engine, goldenSpec(golden));
  const values = [...model.stateDict()].map(
    ([name, { shape }]) => [name, { shape, data: weight(name, shape) }] as const,
  );
  model.loadStateDict(new Map(values));
  return model;
}
