/** From the finished runs of a study to what it shows: lines of the table, disagreement, claims. Pure. */
import { disagreement } from '../report/answers.ts';
import type { Answers } from '../report/answers.ts';
import { AXES } from './definition.ts';
import type { Axis, Claim, ClaimSide, Head, LineRef, Predictor, Study } from './definition.ts';
import type { Line, StudyPlan } from './node/plan.ts';
import { bootstrapDifference, pairedDifference, spreadOf, verdictOf } from './statistics.ts';
import type { Difference, Spread, Verdict } from './statistics.ts';

/** What a finished run gives a study. */
export interface Outcome {
  readonly accuracy: Readonly<Record<Head, number | null>>;
  /** Held-out accuracy of its teacher. */
  readonly teacher: number | null;
  /** On the held-out images; null where they were not kept. */
  readonly answers: Answers | null;
  /** Mean cosine of class and distillation token, by block. */
  readonly tokenCosine: readonly number[] | null;
}

/** By the key of the run. */
export type Outcomes = ReadonlyMap<string, Outcome>;

export interface LineResult extends Omit<Line, 'runs' | 'settings'> {
  readonly seeds: readonly { readonly seed: number; readonly accuracy: number }[];
  readonly spread: Spread | null;
  /** Mean held-out accuracy of the teachers. */
  readonly teacherAccuracy: number | null;
  /** To the line that it is compared with; null of that line itself, and where there is nothing to compare. */
  readonly difference: Difference | null;
  readonly verdict: Verdict | null;
  /** Name of the line that it is compared with. */
  readonly baseline: string | null;
}

export interface DisagreementResult {
  /** At which place of the axes. */
  readonly place: string;
  readonly names: readonly string[];
  /** Shares of the held-out images, mean over seeds. */
  readonly shares: readonly (readonly number[])[];
  readonly seeds: number;
}

export interface CosineResult {
  readonly name: string;
  /** Mean over seeds, by block. */
  readonly values: readonly number[];
}

export interface ClaimResult {
  readonly text: string;
  /** At which place of the axes. */
  readonly place: string;
  readonly difference: Difference | null;
  readonly verdict: 'seen here' | 'not seen: the reverse is' | 'not decidable at this scale' | 'not run';
}

export interface StudyResults {
  readonly lines: readonly LineResult[];
  readonly disagreement: readonly DisagreementResult[];
  readonly cosines: readonly CosineResult[];
  readonly claims: readonly ClaimResult[];
}

export function studyResults(study: Study, plan: StudyPlan, outcomes: Outcomes): StudyResults {
  return {
    lines: plan.lines.map((line) => lineResult(study, plan, line, outcomes)),
    disagreement: places(plan).flatMap((place) => disagreementAt(study, plan, place, outcomes) ?? []),
    cosines: cosines(plan, outcomes),
    claims: study.claims.flatMap((claim) => claimResults(study, plan, claim, outcomes)),
  };
}

/** Something that is measured once a seed, by held-out images. */
interface Quantity {
  readonly bySeed: ReadonlyMap<number, number>;
  /** The values whose mean is that of the seed, one an image; null where they are not known. */
  readonly byImage: (seed: number) => readonly number[] | null;
}

/** Paired by seed where both have at least two in common, else by the held-out images of the one. */
export function compare(a: Quantity, b: Quantity): Difference | null {
  const seeds = [...a.bySeed.keys()].filter((seed) => b.bySeed.has(seed));
  const paired = pairedDifference(seeds.map((seed) => a.bySeed.get(seed)! - b.bySeed.get(seed)!));
  if (paired || seeds.length === 0) return paired;
  const [ours, theirs] = [a.byImage(seeds[0]), b.byImage(seeds[0])];
  if (!ours || ours.length !== theirs?.length) return null;
  return bootstrapDifference(ours.map((value, i) => value - theirs[i]));
}

function lineResult(study: Study, plan: StudyPlan, line: Line, outcomes: Outcomes): LineResult {
  const { runs, name, row, head, student, teacher, data, length, paper } = line;
  const own = accuracyOf(line, outcomes);
  const teachers = runs.flatMap(({ key }) => outcomes.get(key)?.teacher ?? []);
  const reference = study.rows.find(({ name }) => name === line.row)!.baseline ?? study.baseline;
  const other = reference && partner(plan, line, reference);
  const difference = other && other !== line ? compare(own, accuracyOf(other, outcomes)) : null;
  return {
    ...{ name, row, head, student, teacher, data, length, paper },
    seeds: [...own.bySeed].map(([seed, accuracy]) => ({ seed, accuracy })),
    spread: spreadOf([...own.bySeed.values()]),
    teacherAccuracy: spreadOf(teachers)?.mean ?? null,
    difference,
    verdict: difference && verdictOf(difference),
    baseline: other && other !== line ? nameAt(plan, other) : null,
  };
}

function accuracyOf({ runs, head }: Line, outcomes: Outcomes): Quantity {
  const done = runs.flatMap(({ seed, key }) => {
    const outcome = outcomes.get(key);
    const accuracy = outcome?.accuracy[head] ?? null;
    return outcome && accuracy !== null ? [{ seed, accuracy, answers: outcome.answers }] : [];
  });
  return {
    bySeed: new Map(done.map(({ seed, accuracy }) => [seed, accuracy])),
    byImage: (wanted) => {
      const answers = done.find(({ seed }) => seed === wanted)?.answers;
      const given = answers && givenBy(answers, head);
      return given ? given.map((answer, i) => Number(answer === answers.given[0][i])) : null;
    },
  };
}

/** What a predictor answered. A plain student's one head is its class head, and what is averaged. */
function givenBy({ names, given }: Answers, head: Head | 'teacher'): readonly number[] | null {
  const index = names.indexOf(head);
  if (index >= 0) return given[index];
  return head === 'average' && !names.includes('distillation') ? (given[names.indexOf('class')] ?? null) : null;
}

/** The line of a reference at the place of another line: on axes that neither says anything of they are the same. */
function partner(plan: StudyPlan, line: Line, reference: LineRef): Line | null {
  const fits = (other: Line): boolean =>
    matches(other, { head: 'average', ...reference }) &&
    AXES.every((axis) => reference[axis] !== undefined || isSamePlace(other[axis], line[axis]));
  return plan.lines.find(fits) ?? plan.lines.find((other) => matches(other, reference) && fits({ ...other, head: 'average' })) ?? null; // prettier-ignore
}

const matches = (line: Line, { row, head, ...axes }: LineRef): boolean =>
  line.row === row &&
  (head === undefined || line.head === head) &&
  AXES.every((axis) => axes[axis] === undefined || axes[axis] === line[axis]);

/** A reference to the `longest` or `shortest` of all lengths by the name of that. */
function settled({ lines }: StudyPlan, reference: LineRef): LineRef {
  const { length } = reference;
  if (length !== 'longest' && length !== 'shortest') return reference;
  const ordered = lines.map((line) => line.length).sort((a, b) => Number.parseFloat(a) - Number.parseFloat(b));
  return { ...reference, length: ordered.at(length === 'longest' ? -1 : 0) };
}

/** A line without teacher is at the place of every teacher. */
const isSamePlace = (a: string, b: string): boolean => a === b || a === '' || b === '';

/** The axes along which the lines of a study differ, as text; of none, nothing. */
export const placeOf = ({ axes }: StudyPlan, line: Pick<Line, Axis>): string =>
  axes
    .map((axis) => line[axis])
    .filter(Boolean)
    .join(', ');

const nameAt = (plan: StudyPlan, line: Line): string => [line.name, placeOf(plan, line)].filter(Boolean).join(', ');

/** One line for each place of the axes; those of a teacher stand for the place without. */
function places({ lines }: StudyPlan): Line[] {
  const all = lines.filter(({ teacher }) => teacher !== '');
  const at = (line: Line): string => AXES.map((axis) => line[axis]).join('\n');
  return [...new Map((all.length > 0 ? all : lines).map((line) => [at(line), line])).values()];
}

function predictorRuns(plan: StudyPlan, place: Line, { row }: Predictor): Line['runs'] {
  const fits = (line: Line): boolean => line.row === row && AXES.every((axis) => isSamePlace(line[axis], place[axis]));
  return plan.lines.find(fits)?.runs ?? [];
}

/** The answers of all predictors of a study on the same images, seed by seed, with the truth first. */
function commonAnswers(study: Study, plan: StudyPlan, place: Line, outcomes: Outcomes): Map<number, Answers> {
  const predictors = study.disagreement?.predictors ?? [];
  const seeds = predictors.length === 0 ? [] : predictorRuns(plan, place, predictors[0]).map(({ seed }) => seed);
  const found = new Map<number, Answers>();
  for (const seed of seeds) {
    const answered = predictors.map((predictor) => {
      const run = predictorRuns(plan, place, predictor).find((one) => one.seed === seed);
      const answers = run && outcomes.get(run.key)?.answers;
      const given = answers && givenBy(answers, predictor.head);
      return given && { truth: answers.given[0], given, classes: answers.classes };
    });
    const [first] = answered;
    const isSame = (one: typeof first): boolean =>
      !!one && !!first && one.truth.length === first.truth.length && one.truth.every((t, i) => t === first.truth[i]);
    if (!first || !answered.every(isSame)) continue;
    found.set(seed, {
      names: ['truth', ...predictors.map(({ name }) => name)],
      classes: first.classes,
      given: [first.truth, ...answered.map((one) => one!.given)],
    });
  }
  return found;
}

function disagreementAt(study: Study, plan: StudyPlan, place: Line, outcomes: Outcomes): DisagreementResult | null {
  const bySeed = [...commonAnswers(study, plan, place, outcomes).values()];
  if (bySeed.length === 0) return null;
  const tables = bySeed.map(disagreement);
  const shares = tables[0].map((row, r) => row.map((_, c) => spreadOf(tables.map((table) => table[r][c]))!.mean));
  return { place: placeOf(plan, place), names: bySeed[0].names, shares, seeds: bySeed.length };
}

function cosines(plan: StudyPlan, outcomes: Outcomes): CosineResult[] {
  const seen = new Set<string>();
  return plan.lines.flatMap((line) => {
    const id = line.runs.map(({ key }) => key).join();
    const rows = line.runs.flatMap(({ key }) => {
      const values = outcomes.get(key)?.tokenCosine;
      return values ? [values] : [];
    });
    if (seen.has(id) || rows.length === 0) return [];
    seen.add(id);
    const values = rows[0].map((_, block) => spreadOf(rows.map((row) => row[block]))!.mean);
    return [{ name: [line.row, placeOf(plan, line)].filter(Boolean).join(', '), values }];
  });
}

/** A claim at every place where both of its sides are. */
function claimResults(study: Study, plan: StudyPlan, claim: Claim, outcomes: Outcomes): ClaimResult[] {
  const { text } = claim;
  const [higher, lower] = [claim.higher, claim.lower].map((one) => ('row' in one ? settled(plan, one) : one));
  const results: ClaimResult[] = [];
  const judge = (a: Quantity | null, b: Quantity | null, place: string): void => {
    const difference = a && b && compare(a, b);
    const verdict = !difference
      ? 'not run'
      : difference.low > 0
        ? 'seen here'
        : difference.high < 0
          ? 'not seen: the reverse is'
          : 'not decidable at this scale';
    results.push({ text, place, difference, verdict });
  };
  if ('row' in higher && 'row' in lower) {
    for (const line of plan.lines.filter((one) => matches(one, { head: 'average', ...higher }))) {
      const free = Object.fromEntries(AXES.map((axis) => [axis, higher[axis] === undefined ? line[axis] : '']));
      const other = partner(plan, { ...line, ...free }, lower);
      if (other) judge(accuracyOf(line, outcomes), accuracyOf(other, outcomes), placeOf(plan, { ...line, ...free }));
    }
  } else {
    for (const place of places(plan)) {
      const answers = commonAnswers(study, plan, place, outcomes);
      const quantity = (one: ClaimSide): Quantity | null => ('between' in one ? apart(answers, one.between) : null);
      judge(quantity(higher), quantity(lower), placeOf(plan, place));
    }
  }
  return results.length > 0 ? results : [{ text, place: '', difference: null, verdict: 'not run' }];
}

/** The share of images on which two predictors differ. */
function apart(answers: ReadonlyMap<number, Answers>, [a, b]: readonly [string, string]): Quantity | null {
  const byImage = (seed: number): number[] | null => {
    const found = answers.get(seed);
    if (!found) return null;
    const [ours, theirs] = [found.given[found.names.indexOf(a)], found.given[found.names.indexOf(b)]];
    return ours.map((answer, i) => Number(answer !== theirs[i]));
  };
  if (answers.size === 0) return null;
  return { bySeed: new Map([...answers.keys()].map((seed) => [seed, spreadOf(byImage(seed)!)!.mean])), byImage };
}
