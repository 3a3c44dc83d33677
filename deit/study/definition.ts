/** What a study is: rows of settings to be trained and compared. Files of `deit/study`, and users' own. Browser-safe. */
import stripJsonComments from 'strip-json-comments';
import * as v from 'valibot';
import { DeitError } from '../../engine/index.ts';
import type { Overrides } from '../recipe/resolve.ts';

/** What accuracy is measured by: a head, the average of both heads' logits, or the moving average of the weights. */
export const HEADS = ['class', 'distillation', 'average', 'ema'] as const;
export type Head = (typeof HEADS)[number];

/** Values along which every row is repeated. */
export const AXES = ['student', 'teacher', 'data', 'length'] as const;
export type Axis = (typeof AXES)[number];

/** A model or a path with the name that tables show. */
export interface Entry {
  readonly name: string;
  readonly value: string;
  /** A teacher that need not be better than its student, since the comparison is about that. */
  readonly weak: boolean;
  /** Of a teacher that comes with weights: the model that they say they are of. */
  readonly model?: string;
}

/** A value of the paper, or the values by what tells its lines apart: names of heads, students (`deit_tiny`), teachers, data, lengths. */
export type Paper = number | { readonly [label: string]: Paper };

/** Lines by what is said of them: of what is not said, all. */
export interface LineRef extends Partial<Readonly<Record<Axis, string>>> {
  readonly row: string;
  readonly head?: Head | undefined;
}

export interface Row {
  readonly name: string;
  readonly settings: Overrides;
  /** Whether the student has a distillation token; null: as it is named. */
  readonly token: boolean | null;
  /** Options that are added to the student's name. */
  readonly model: string;
  /** Times the side of the student's images. */
  readonly resolution: number;
  /** The row whose weights it starts from, of the same seed. */
  readonly from: string | null;
  /** One line of the table each. */
  readonly heads: readonly Head[];
  readonly paper: Paper | null;
  /** The row that it is compared with, if not the study's. */
  readonly baseline: LineRef | null;
}

/** A column that says of a setting whether it is on. */
export interface Mark {
  readonly name: string;
  readonly setting: string;
  /** On where the text contains this; else where it is neither null, 0, false nor 1 view. */
  readonly contains: string | null;
}

export interface Predictor {
  readonly name: string;
  readonly row: string;
  readonly head: Head | 'teacher';
}

/** Either side is a line of the table or a pair of predictors, of which the share of images is meant on which they differ. */
export type ClaimSide = LineRef | { readonly between: readonly [string, string] };

export interface Claim {
  readonly text: string;
  readonly higher: ClaimSide;
  readonly lower: ClaimSide;
}

export interface Study {
  readonly about: string;
  /** Where the paper has it. */
  readonly source: string;
  /** The recipe that is taken where none is asked for. */
  readonly recipe: string;
  /** What is equal in all that is compared. */
  readonly equal: string;
  readonly settings: Overrides;
  readonly students: readonly Entry[] | null;
  readonly teachers: readonly Entry[] | null;
  readonly data: readonly Entry[] | null;
  /** Multiples of the length that is asked for. */
  readonly lengths: readonly number[];
  readonly rows: readonly Row[];
  readonly baseline: LineRef | null;
  readonly marks: readonly Mark[];
  readonly disagreement: {
    readonly predictors: readonly Predictor[];
    /** In the order of the truth and then the predictors; null where the paper has none. */
    readonly paper: readonly (readonly (number | null)[])[] | null;
  } | null;
  readonly claims: readonly Claim[];
}

const name = v.pipe(v.string(), v.trim(), v.nonEmpty());
const settings = v.optional(v.record(v.string(), v.union([v.number(), v.string(), v.boolean(), v.null()])), {});
const entry: v.GenericSchema<unknown, Entry> = v.union([
  v.pipe(
    name,
    v.transform((value) => ({ name: value, value, weak: false })),
  ),
  v.strictObject({ name, value: name, weak: v.optional(v.boolean(), false) }),
]);
const entries = v.optional(v.nullable(v.pipe(v.array(entry), v.nonEmpty())), null);
const paper: v.GenericSchema<unknown, Paper> = v.lazy(() => v.union([v.number(), v.record(v.string(), paper)]));
const line = v.strictObject({
  row: name,
  head: v.optional(v.picklist(HEADS)),
  student: v.optional(name),
  teacher: v.optional(name),
  data: v.optional(name),
  length: v.optional(name),
});
const side = v.union([v.strictObject({ between: v.tuple([name, name]) }), line]);
const row = v.strictObject({
  name,
  settings,
  token: v.optional(v.nullable(v.boolean()), null),
  model: v.optional(v.string(), ''),
  resolution: v.optional(v.pipe(v.number(), v.minValue(0.25), v.maxValue(8)), 1),
  from: v.optional(v.nullable(name), null),
  heads: v.optional(v.pipe(v.array(v.picklist(HEADS)), v.nonEmpty()), ['average']),
  paper: v.optional(v.nullable(paper), null),
  baseline: v.optional(v.nullable(line), null),
});

export const studySchema: v.GenericSchema<unknown, Study> = v.pipe(
  v.strictObject({
    $schema: v.optional(v.string()),
    about: name,
    source: v.optional(v.string(), ''),
    recipe: v.optional(name, 'quick-demo'),
    equal: v.optional(v.string(), ''),
    settings,
    students: entries,
    teachers: entries,
    data: entries,
    lengths: v.optional(v.pipe(v.array(v.pipe(v.number(), v.minValue(1e-3), v.maxValue(1e4))), v.nonEmpty()), [1]),
    rows: v.pipe(v.array(row), v.nonEmpty()),
    baseline: v.optional(v.nullable(line), null),
    marks: v.optional(
      v.array(v.strictObject({ name, setting: name, contains: v.optional(v.nullable(v.string()), null) })),
      [],
    ),
    disagreement: v.optional(
      v.nullable(
        v.strictObject({
          predictors: v.pipe(
            v.array(v.strictObject({ name, row: name, head: v.picklist([...HEADS, 'teacher']) })),
            v.nonEmpty(),
          ),
          paper: v.optional(v.nullable(v.array(v.array(v.nullable(v.number())))), null),
        }),
      ),
      null,
    ),
    claims: v.optional(v.array(v.strictObject({ text: name, higher: side, lower: side })), []),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const message of contradictions(dataset.value)) addIssue({ message });
  }),
);

/** Names that are used and not there, and names that are there twice. */
function contradictions(study: Study): string[] {
  const names = study.rows.map((one) => one.name);
  const problems = names.flatMap((one, i) => (names.indexOf(one) < i ? [`two rows are called "${one}"`] : []));
  const expectRow = (used: string, where: string): void => {
    if (!names.includes(used)) problems.push(`${where} names the row "${used}", and there is none`);
  };
  if (study.baseline) expectRow(study.baseline.row, 'baseline');
  for (const one of study.rows) {
    if (one.from !== null) expectRow(one.from, `"from" of "${one.name}"`);
    if (one.from === one.name) problems.push(`"${one.name}" starts from itself`);
    if (one.baseline) expectRow(one.baseline.row, `baseline of "${one.name}"`);
  }
  const predictors = study.disagreement?.predictors ?? [];
  for (const predictor of predictors) expectRow(predictor.row, `predictor "${predictor.name}"`);
  const known = ['truth', ...predictors.map((one) => one.name)];
  for (const { text, higher, lower } of study.claims) {
    for (const one of [higher, lower]) {
      if ('row' in one) expectRow(one.row, `claim "${text}"`);
      else
        for (const used of one.between) {
          if (!known.includes(used)) problems.push(`claim "${text}" names the predictor "${used}", and there is none`);
        }
    }
  }
  return problems;
}

/** Reads a study: JSON with comments. Throws `file-corrupt` or `bad-config`, with all mistakes at once. */
export function parseStudy(source: string, where: string): Study {
  let content: unknown;
  try {
    content = JSON.parse(stripJsonComments(source.replace(/^\uFEFF/, ''), { trailingCommas: true }));
  } catch (cause) {
    throw new DeitError('file-corrupt', 'The study is not JSON (comments are allowed).', {
      where,
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  const parsed = v.safeParse(studySchema, content);
  if (parsed.success) return parsed.output;
  const problems = parsed.issues.map((issue) => {
    const path = v.getDotPath(issue);
    return path === null ? issue.message : `${path}: ${issue.message}`;
  });
  throw new DeitError('bad-config', 'The study has mistakes.', {
    where,
    found: problems.join('; ').slice(0, 1000),
    fix: 'deit/study/README.md says what a study holds, and the files beside it are examples',
  });
}
