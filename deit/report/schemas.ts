/** What the JSON files of a run folder have to hold: they may be damaged, edited, or from somebody else. Browser-safe. */
import * as v from 'valibot';
import { DeitError } from '../../engine/index.ts';
import type { Analysis } from './analysis.ts';
import type { RunConfig, RunResult, Session } from './run.ts';

type Schema<Content> = v.GenericSchema<unknown, Content>;

const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const amount = v.pipe(v.number(), v.finite(), v.minValue(0));
const setting = v.nullable(v.union([v.number(), v.string(), v.boolean()]));

export const configSchema: Schema<RunConfig> = v.object({
  version: v.string(),
  versions: v.optional(v.record(v.string(), v.string())),
  command: v.array(v.string()),
  name: v.string(),
  recipe: v.record(v.string(), v.record(v.string(), setting)),
});

/** Losses are null where they were NaN: JSON has no NaN. */
const accuracy = v.object({
  class: share,
  distillation: v.nullable(share),
  average: share,
  top5: share,
  loss: v.nullable(v.number()) as v.GenericSchema<unknown, number>,
  images: count,
});

export const resultSchema: Schema<RunResult> = v.looseObject({
  accuracy: v.object({
    teacher: v.nullable(share),
    class: share,
    distillation: v.nullable(share),
    average: share,
  }),
  ema: v.nullable(accuracy),
  steps: count,
  seconds: amount,
  imagesPerSecond: amount,
  dataWait: amount,
  adapter: v.string(),
});

const adapter = v.object({
  name: v.string(),
  vendor: v.string(),
  architecture: v.string(),
  description: v.string(),
  software: v.boolean(),
  choice: v.string(),
  advice: v.nullable(v.string()),
  features: v.array(v.string()),
});

const session = v.object({
  role: v.picklist(['teacher', 'student']),
  step: count,
  versions: v.record(v.string(), v.string()),
  adapter,
});

/** Versions before this wrote the adapter alone. */
export const sessionsSchema: Schema<readonly Session[]> = v.union([
  v.pipe(v.array(session), v.minLength(1)),
  v.pipe(
    adapter,
    v.transform((own): Session[] => [{ role: 'student', step: 0, versions: {}, adapter: own }]),
  ),
]);

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

export const analysisSchema: Schema<Analysis> = v.object({
  data: v.object({ name: v.string(), training: count, heldOut: count }),
  model: v.nullable(model),
  training: v.nullable(v.object({ profile: v.nullable(profile), memory })),
  peak: v.nullable(v.object({ flops: amount, bytes: amount })),
});

/** Parses a file of a run. Throws `file-corrupt`, which says at which key what was expected. */
export function parseRunFile<Content>(text: string, where: string, schema: Schema<Content>): Content {
  const corrupt = (found: string, cause?: unknown): DeitError =>
    new DeitError('file-corrupt', 'A file of the run does not hold what it should.', {
      where,
      found,
      fix: 'restore the file from a copy',
      cause,
    });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw corrupt(String(cause), cause);
  }
  const parsed = v.safeParse(schema, content, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw corrupt(`${v.getDotPath(issue) ?? 'the whole file'}: ${issue.message}`.slice(0, 300));
}
