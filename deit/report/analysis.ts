/** What a report says of a trained model beyond its metrics; `analysis.json` of a run folder. */
import type { DispatchTime, MemoryReport, Peak } from '../../engine/index.ts';
import type { Mistaken } from './answers.ts';
import type { HeadToken } from './attention.ts';

/** A picture as the source of an HTML image. */
export type PictureUrl = string;

export interface SamplePrediction {
  readonly predictor: string;
  readonly answer: number;
  readonly probability: number;
}

export interface Sample {
  /** File of the image, or its place in the data; absent in analyses of versions before. */
  readonly name?: string | undefined;
  readonly truth: number;
  readonly picture: PictureUrl;
  readonly predictions: readonly SamplePrediction[];
  /** Chosen because the model is most certain of a wrong answer. */
  readonly mistake: boolean;
}

/** Where the tokens look on one image. */
export interface AttentionPictures {
  readonly truth: number | null;
  readonly picture: PictureUrl;
  readonly tokens: readonly {
    readonly token: HeadToken;
    readonly rollout: PictureUrl;
    /** All heads (columns) of all layers (rows, the first block on top), one picture. */
    readonly layers: PictureUrl;
    readonly depth: number;
    readonly heads: number;
  }[];
}

/** One family of kernels in one training step. */
export interface KernelFamily {
  readonly family: string;
  readonly dispatches: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

export interface ModelAnalysis {
  readonly classes: readonly string[];
  readonly images: number;
  /** Names of the predictors: `truth`, then `teacher` if there is one, `class`, `distillation`, `average`. */
  readonly names: readonly string[];
  readonly accuracy: readonly number[];
  readonly disagreement: readonly (readonly number[])[];
  /** Of the last predictor; null where there are too many classes to show. */
  readonly confusion: readonly (readonly number[])[] | null;
  readonly topConfusions: readonly Mistaken[];
  /** Mean cosine of class and distillation token after each block; null without distillation token. */
  readonly tokenCosine: readonly number[] | null;
  readonly samples: readonly Sample[];
  readonly attention: readonly AttentionPictures[];
}

export interface Profile {
  readonly families: readonly KernelFamily[];
  readonly images: number;
}

/** What is only known while a run trains. */
export interface TrainingFigures {
  /** One training step; null where the adapter has no timestamps. */
  readonly profile: Profile | null;
  readonly memory: MemoryReport;
}

export interface Analysis {
  readonly data: { readonly name: string; readonly training: number; readonly heldOut: number };
  readonly model: ModelAnalysis | null;
  /** Of the student's training; null where the run was analysed later. */
  readonly training: TrainingFigures | null;
  readonly peak: Peak | null;
}

/** Sums dispatches by kernel family (the name before the first `.` or `/`), the longest first. */
export function kernelFamilies(times: readonly DispatchTime[]): KernelFamily[] {
  const families = new Map<string, KernelFamily>();
  for (const { kernel, durationNs, flops, bytes } of times) {
    const family = kernel.split(/[./]/)[0];
    const sum = families.get(family) ?? { family, dispatches: 0, ms: 0, flops: 0, bytes: 0 };
    families.set(family, {
      family,
      dispatches: sum.dispatches + 1,
      ms: sum.ms + durationNs / 1e6,
      flops: sum.flops + flops,
      bytes: sum.bytes + bytes,
    });
  }
  return [...families.values()].sort((a, b) => b.ms - a.ms);
}
