/** Logits on the host: what they say. Pure. */
import { DeitError } from '../engine/index.ts';

/** Logits of each head, [rows * classes]. */
export interface HostLogits {
  readonly cls: Float32Array;
  /** Null without a distillation head. */
  readonly dist: Float32Array | null;
}

/** What a model answers: the average of its heads' logits. */
export const averageLogits = ({ cls, dist }: HostLogits): Float32Array =>
  dist ? cls.map((value, i) => (value + dist[i]) / 2) : cls;

/** Class of the largest logit in each row of [rows, classes]; the first one where several are equal. Throws on NaN. */
export function argmaxRows(logits: ArrayLike<number>, classes: number): number[] {
  return Array.from({ length: Math.floor(logits.length / classes) }, (_, row) => {
    let best = 0;
    for (let k = 0; k < classes; k++) {
      const value = logits[row * classes + k];
      // NaN is larger than nothing, and would pass for class 0.
      if (Number.isNaN(value)) throw new DeitError('non-finite', 'NaN stands for no class.', { where: `row ${row}` });
      if (value > logits[row * classes + best]) best = k;
    }
    return best;
  });
}

/** softmax of one row of logits, in float64. */
export function probabilities(logits: ArrayLike<number>, row: number, classes: number): Float64Array {
  const values = Float64Array.from({ length: classes }, (_, k) => logits[row * classes + k]);
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** The likeliest classes by the logits of one image, at most `count`, the likeliest first. */
export function likeliest(logits: ArrayLike<number>, count: number): { class: number; probability: number }[] {
  const shares = probabilities(logits, 0, logits.length);
  return Array.from(shares, (probability, index) => ({ class: index, probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, count);
}
