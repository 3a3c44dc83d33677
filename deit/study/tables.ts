/** The tables of a study as texts. Browser-safe. */
import { percent } from '../report/html.ts';
import type { TextTable } from '../report/table-text.ts';
import type { Recipe, SettingName, SettingValue } from '../recipe/settings.ts';
import type { Axis, Mark } from './definition.ts';
import type { ClaimResult, LineResult } from './results.ts';
import type { Difference } from './statistics.ts';
import type { StudyRecord } from './record.ts';

/** Said of the paper's values wherever they are shown. */
export const OTHER_SCALE = 'paper (ImageNet, another scale)';

const points = (share: number): string => `${share < 0 ? '−' : '+'}${Math.abs(100 * share).toFixed(1)}`;

/** In percentage points, with its 95 % interval. */
export const intervalText = ({ mean, low, high }: Difference): string =>
  `${points(mean)} (${points(low)} to ${points(high)})`;

const accuracyText = ({ spread }: LineResult): string => {
  if (!spread) return 'not run';
  const { mean, deviation, count } = spread;
  return deviation === null
    ? percent(mean)
    : `${(100 * mean).toFixed(1)} ± ${(100 * deviation).toFixed(1)} % (${count})`;
};

const markText = ({ setting, contains }: Mark, recipe: Recipe): string => {
  const value: SettingValue = recipe[setting as SettingName];
  if (contains !== null) return typeof value === 'string' && value.includes(contains) ? '✓' : '✗';
  if (typeof value === 'string') return value;
  const isOff = value === null || value === 0 || value === false || (setting === 'augment.repeats' && value === 1);
  return isOff ? '✗' : '✓';
};

const AXIS_TITLES: Readonly<Record<Axis, string>> = {
  student: 'student',
  teacher: 'teacher',
  data: 'data',
  length: 'length',
};

/** The table of results for people. */
export function resultTable({ plan, study, results }: StudyRecord): TextTable {
  const { axes } = plan;
  const hasTeacher = results.lines.some(({ teacherAccuracy }) => teacherAccuracy !== null);
  const hasPaper = results.lines.some(({ paper }) => paper !== null);
  const seeds = results.lines.some(({ spread }) => (spread?.count ?? 0) > 1);
  const titles = [
    '',
    ...axes.map((axis) => AXIS_TITLES[axis]),
    ...study.marks.map(({ name }) => name),
    ...(hasTeacher ? ['its teacher'] : []),
    seeds ? 'accuracy, mean ± deviation (seeds)' : 'accuracy',
    'difference in points (95 %)',
    'shown',
    ...(hasPaper ? [OTHER_SCALE] : []),
  ];
  const rows = results.lines.map((line, i) => [
    line.name,
    ...axes.map((axis) => line[axis] || '–'),
    ...study.marks.map((mark) => markText(mark, plan.lines[i].settings)),
    ...(hasTeacher ? [line.teacherAccuracy === null ? '–' : percent(line.teacherAccuracy)] : []),
    accuracyText(line),
    line.difference ? intervalText(line.difference) : line.baseline === null ? 'compared with' : '–',
    line.verdict ?? '–',
    ...(hasPaper ? [line.paper === null ? '–' : `${line.paper} %`] : []),
  ]);
  return { titles, rows };
}

/** The same for programs: numbers as they are, shares from 0 to 1. */
export function resultNumbers({ results }: StudyRecord): TextTable {
  const titles = ['row', 'head', 'student', 'teacher', 'data', 'length', 'seeds', 'accuracy', 'deviation', 'teacherAccuracy', 'difference', 'low', 'high', 'intervalOver', 'shown', 'comparedWith', 'paper']; // prettier-ignore
  const rows = results.lines.map(({ spread, difference, ...line }) =>
    [
      line.row,
      line.head,
      line.student,
      line.teacher,
      line.data,
      line.length,
      line.seeds.map(({ seed }) => seed).join(' '),
      spread?.mean,
      spread?.deviation,
      line.teacherAccuracy,
      difference?.mean,
      difference?.low,
      difference?.high,
      difference?.over,
      line.verdict,
      line.baseline,
      line.paper === null ? null : line.paper / 100,
    ].map((value) => String(value ?? '')),
  );
  return { titles, rows };
}

export function claimTable(claims: readonly ClaimResult[]): TextTable {
  const hasPlace = claims.some(({ place }) => place !== '');
  return {
    titles: ["the paper's claim", ...(hasPlace ? ['where'] : []), 'difference in points (95 %)', 'here'],
    rows: claims.map(({ text, place, difference, verdict }) => [
      text,
      ...(hasPlace ? [place || '–'] : []),
      difference ? intervalText(difference) : '–',
      verdict,
    ]),
  };
}

/** What the runs are, and how they ended. */
export function runTable({ runs }: StudyRecord): TextTable {
  return {
    titles: ['run', 'seed', 'state', 'steps', 'accuracy'],
    rows: runs.map(({ label, seed, state, problem, steps, accuracy }) => [
      label,
      String(seed),
      problem === null ? state : `${state}: ${problem}`,
      steps === null ? '–' : String(steps),
      accuracy === null ? '–' : percent(accuracy),
    ]),
  };
}

/** How the intervals were made, in words. */
export function intervalNote({ results }: StudyRecord): string {
  const over = new Set(results.lines.flatMap(({ difference }) => difference?.over ?? []));
  const notes: string[] = [];
  if (over.has('seeds'))
    notes.push('Differences are paired by seed, with the t interval of their mean: what another training would give.');
  if (over.has('images')) {
    notes.push(
      'Where there is one seed the interval is a bootstrap over the held-out images, each answered by both: what other images would give, not what another training would.',
    );
  }
  if (notes.length > 0)
    notes.push('Where an interval covers zero no difference is shown. Several rows are compared, and no correction is made for it.'); // prettier-ignore
  return notes.join(' ');
}
