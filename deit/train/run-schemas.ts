/** What the JSON files of a run folder hold, and have to: they may be damaged, edited, or from somebody else. Browser-safe. */
import * as v from 'valibot';
import { DeitError } from '../../engine/index.ts';
import type { AdapterReport } from '../../engine/index.ts';
import type { LoadTimes } from '../data/index.ts';
import type { RankTimes } from '../parallel/rank-times.ts';
import type { Accuracy } from './tally.ts';
import type { Role } from './setup.ts';

/** `config.json`. */
export interface RunConfig {
  readonly version: string;
  /** Versions of what it ran on: Node, the WebGPU bindings, the platform. */
  readonly versions?: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  readonly name: string;
  /** Every setting, by section. */
  readonly recipe: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Where a run went on, and on what: one a start, as far as something differed. Of `adapter.json`. */
export interface Session {
  readonly role: Role;
  /** Steps of the role that had been done. */
  readonly step: number;
  /** Of this package, Node, the WebGPU bindings, the platform; empty where they were not kept. */
  readonly versions: Readonly<Record<string, string>>;
  readonly adapter: AdapterReport;
}

/** `result.json`, as far as the report shows it. */
export interface RunResult {
  readonly accuracy: {
    readonly teacher: number | null;
    readonly class: number;
    readonly distillation: number | null;
    readonly average: number;
  };
  readonly ema: Accuracy | null;
  /** The weights that did best along the way: optimizer steps, and accuracy by the average of the heads. */
  readonly best: { readonly step: number; readonly accuracy: number } | null;
  readonly steps: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  readonly dataWait: number;
  readonly loading: LoadTimes | null;
  readonly ranks: RankTimes | null;
  /** Names of the adapters that it ran on, in order. */
  readonly adapter: string;
}

export type Schema<Content> = v.GenericSchema<unknown, Content>;

const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
export const count = v.pipe(v.number(), v.integer(), v.minValue(0));
export const amount = v.pipe(v.number(), v.finite(), v.minValue(0));
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
  // Absent in runs of version 0.1.0.
  best: v.optional(v.nullable(v.object({ step: count, accuracy: share })), null),
  steps: count,
  seconds: amount,
  imagesPerSecond: amount,
  dataWait: amount,
  // Absent in runs of version 0.1.0.
  loading: v.optional(v.nullable(v.object({ read: amount, decode: amount, augment: amount, copy: amount })), null),
  // Absent where there was one process.
  ranks: v.optional(
    v.nullable(
      v.object({ ranks: count, waiting: amount, moving: amount, copying: amount, slowest: v.nullable(count) }),
    ),
    null,
  ),
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

/** Names of the adapters of a run, in order, each once. */
export const adapterNames = (sessions: readonly Session[]): string =>
  [...new Set(sessions.map(({ adapter }) => adapter.name))].join(', then ');

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
