/** What `analysis.json` of a run folder has to hold. Browser-safe. */
import * as v from 'valibot';
import { amount, count } from '../train/run-schemas.ts';
import type { Schema } from '../train/run-schemas.ts';
import type { Analysis } from './analysis.ts';
import type { Answers } from './answers.ts';

const picture = v.pipe(v.string(), v.regex(/^data:image\/(png|jpeg|webp);base64,[\w+/=]*$/, 'no embedded picture'));
const head = v.picklist(['class', 'distillation']);
const numbers = v.array(v.number());

const model = v.pipe(
  v.object({
    classes: v.array(v.string()),
    images: count,
    names: v.pipe(v.array(v.string()), v.minLength(1)),
    accuracy: v.array(v.nullable(v.number()) as v.GenericSchema<unknown, number>),
    disagreement: v.array(numbers),
    confusion: v.nullable(v.array(numbers)),
    topConfusions: v.array(v.object({ truth: count, answer: count, images: count })),
    tokenCosine: v.nullable(numbers),
    samples: v.array(
      v.object({
        name: v.optional(v.string()),
        truth: count,
        picture,
        predictions: v.array(v.object({ predictor: v.string(), answer: count, probability: v.number() })),
        mistake: v.boolean(),
      }),
    ),
    attention: v.array(
      v.object({
        truth: v.nullable(count),
        picture,
        tokens: v.array(v.object({ token: head, rollout: picture, layers: picture, depth: count, heads: count })),
      }),
    ),
  }),
  v.check(({ classes, topConfusions, samples, attention }) => {
    const named = [
      ...topConfusions.flatMap(({ truth, answer }) => [truth, answer]),
      ...samples.flatMap(({ truth, predictions }) => [truth, ...predictions.map(({ answer }) => answer)]),
      ...attention.map(({ truth }) => truth ?? 0),
    ];
    return named.every((label) => label < classes.length);
  }, 'a class without a name'),
  v.check(({ names, accuracy: shares, disagreement, confusion, classes }) => {
    const isSquare = (rows: readonly (readonly number[])[], size: number): boolean =>
      rows.length === size && rows.every((row) => row.length === size);
    const fits = shares.length === names.length && isSquare(disagreement, names.length);
    return fits && (confusion === null || isSquare(confusion, classes.length));
  }, 'tables that do not fit their names'),
);

const profile = v.object({
  families: v.array(v.object({ family: v.string(), dispatches: count, ms: amount, flops: amount, bytes: amount })),
  images: count,
});
const memory = v.object({
  kept: v.record(v.string(), amount),
  keptBytes: amount,
  pooledBytes: amount,
  totalBytes: amount,
  peakBytes: amount,
  buffers: count,
});

/** Of `answers.json`. */
export const answersSchema: Schema<Answers> = v.pipe(
  v.object({ names: v.array(v.string()), classes: count, given: v.array(v.array(count)) }),
  v.check(
    ({ names, given }) => names.length === given.length && given.every((row) => row.length === given[0].length),
    'answers that do not fit their names',
  ),
);

export const analysisSchema: Schema<Analysis> = v.object({
  data: v.object({ name: v.string(), training: count, heldOut: count }),
  model: v.nullable(model),
  training: v.nullable(v.object({ profile: v.nullable(profile), memory })),
  peak: v.nullable(v.object({ flops: amount, bytes: amount })),
});
