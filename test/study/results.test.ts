import { describe, expect, it } from 'vitest';
import { resolveRecipe } from '../../deit/recipe/resolve.ts';
import { parseStudy } from '../../deit/study/definition.ts';
import { planStudy } from '../../deit/study/node/plan.ts';
import { studyResults } from '../../deit/study/results.ts';
import type { Outcome, StudyResults } from '../../deit/study/results.ts';
import type { StudyPlan } from '../../deit/study/node/plan.ts';
import type { StudyRecord } from '../../deit/study/record.ts';
import { resultTable } from '../../deit/study/tables.ts';

const entry = (value: string) => ({ name: value, value, weak: false });
const study = parseStudy(
  JSON.stringify({
    about: 'two students',
    settings: { 'distillation.type': 'none' },
    rows: [
      { name: 'plain', token: false },
      {
        name: 'distilled',
        token: true,
        settings: { 'distillation.type': 'hard' },
        heads: ['class', 'distillation', 'average'],
      },
    ],
    baseline: { row: 'plain' },
    disagreement: {
      predictors: [
        { name: 'convnet', row: 'distilled', head: 'teacher' },
        { name: 'DeiT', row: 'plain', head: 'class' },
        { name: 'class', row: 'distilled', head: 'class' },
        { name: 'dist', row: 'distilled', head: 'distillation' },
      ],
    },
    claims: [
      { text: 'better', higher: { row: 'distilled' }, lower: { row: 'plain' } },
      { text: 'worse', higher: { row: 'plain' }, lower: { row: 'distilled', head: 'distillation' } },
      { text: 'closer', higher: { between: ['convnet', 'class'] }, lower: { between: ['convnet', 'dist'] } },
    ],
  }),
  'two.json',
);
const plan = (seeds: readonly number[]) =>
  planStudy(
    study,
    {
      base: resolveRecipe(study.settings, { 'model.name': 'deit_tiny_patch16_224', 'schedule.steps': 4 }),
      seeds,
      students: [entry('deit_tiny_patch16_224')],
      teachers: [entry('regnety_002')],
      data: [entry('cifar10-sample')],
      rows: null,
    },
    () => ({ classes: [], training: 1, heldOut: 10, drawn: false, stepsPerEpoch: () => 1 }),
  );

/** Answers on ten images by hand: the truth, the teacher wrong on 2, and so on. */
const TRUTH = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
const TEACHER = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0];
const CLASS = [0, 0, 0, 1, 1, 1, 1, 0, 1, 1];
const DIST = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
const PLAIN = [1, 0, 1, 0, 1, 0, 1, 0, 1, 0];

const plainOutcome = (accuracy: number): Outcome => ({
  accuracy: { class: accuracy, distillation: null, average: accuracy, ema: null },
  teacher: null,
  answers: { names: ['truth', 'class'], classes: 2, given: [TRUTH, PLAIN] },
  tokenCosine: null,
});
const distilledOutcome = (own: number, other: number, tokenCosine: number[]): Outcome => ({
  accuracy: { class: own, distillation: other, average: other, ema: null },
  teacher: 0.8,
  answers: {
    names: ['truth', 'teacher', 'class', 'distillation', 'average'],
    classes: 2,
    given: [TRUTH, TEACHER, CLASS, DIST, DIST],
  },
  tokenCosine,
});

describe('results of a study', () => {
  const three = plan([0, 1, 2]);
  const outcomes = new Map<string, Outcome>();
  for (const { key, seed, label } of three.runs) {
    if (label === 'plain') outcomes.set(key, plainOutcome([0.5, 0.52, 0.48][seed]));
    if (label === 'distilled')
      outcomes.set(key, distilledOutcome([0.51, 0.5, 0.5][seed], [0.56, 0.59, 0.53][seed], [[0.1, 0.8], [0.2, 0.9], [0.3, 1]][seed])); // prettier-ignore
  }
  const results = studyResults(study, three, outcomes);
  const line = (row: string, head: string) => results.lines.find((one) => one.row === row && one.head === head)!;

  it('pair by seed, and say so where nothing is shown', () => {
    expect(line('plain', 'average')).toMatchObject({ difference: null, baseline: null, verdict: null });
    expect(line('plain', 'average').spread!.mean).toBeCloseTo(0.5, 12);
    expect(line('plain', 'average').spread!.deviation).toBeCloseTo(0.02, 12);
    // 0.06, 0.07, 0.05: mean 0.06, deviation 0.01; t of two degrees of freedom is 4.302653.
    const { difference, verdict, baseline, teacherAccuracy } = line('distilled', 'average');
    expect(difference).toMatchObject({ over: 'seeds', count: 3 });
    expect(difference!.mean).toBeCloseTo(0.06, 12);
    expect(difference!.low).toBeCloseTo(0.06 - (4.302653 * 0.01) / Math.sqrt(3), 7);
    expect({ verdict, baseline, teacherAccuracy: teacherAccuracy!.toFixed(3) }).toEqual({ verdict: 'higher', baseline: 'plain', teacherAccuracy: '0.800' }); // prettier-ignore
    expect(line('distilled', 'class').verdict).toBe('no difference shown');
  });

  it('are told as means with deviations over seeds, or as they are of one seed', () => {
    const cells = (of: StudyPlan, own: StudyResults): string[] =>
      resultTable({ plan: of, study, results: own } as StudyRecord).rows.flatMap((row) =>
        row.filter((cell) => /%/.test(cell)),
      );
    expect(cells(three, results)).toEqual(expect.arrayContaining(['50.0 ± 2.0 % (3)', '56.0 ± 3.0 % (3)']));
    const one = plan([0]);
    const single = new Map(
      one.runs.filter(({ label }) => label === 'plain').map(({ key }) => [key, plainOutcome(0.5)]),
    );
    expect(cells(one, studyResults(study, one, single))).toEqual(['50.0 %']);
  });

  it('judge the claims', () => {
    // Where teacher, class and distillation head answer the same on every seed, the interval has no width.
    expect(results.claims.map(({ text, verdict }) => [text, verdict])).toEqual([
      ['better', 'seen here'],
      ['worse', 'not seen: the reverse is'],
      ['closer', 'seen here'],
    ]);
  });

  it('count the images on which two predictors differ', () => {
    const [{ names, shares, seeds }] = results.disagreement;
    expect(names).toEqual(['truth', 'convnet', 'DeiT', 'class', 'dist']);
    expect(seeds).toBe(3);
    // By hand, image by image.
    const expected = [
      [0, 0.2, 0.6, 0.3, 0.1],
      [0.2, 0, 0.4, 0.3, 0.1],
      [0.6, 0.4, 0, 0.5, 0.5],
      [0.3, 0.3, 0.5, 0, 0.2],
      [0.1, 0.1, 0.5, 0.2, 0],
    ];
    shares.forEach((row, r) => row.forEach((share, c) => expect(share, `${r} ${c}`).toBeCloseTo(expected[r][c], 12)));
  });

  it('average the cosines of the tokens, block by block', () => {
    expect(results.cosines).toHaveLength(1);
    expect(results.cosines[0].values[0]).toBeCloseTo(0.2, 12);
    expect(results.cosines[0].values[1]).toBeCloseTo(0.9, 12);
  });

  it('draw the held-out images where there is one seed, and have nothing where a run is missing', () => {
    const one = plan([0]);
    const some = new Map<string, Outcome>();
    for (const { key, label } of one.runs) {
      if (label === 'plain') some.set(key, plainOutcome(0.4));
      if (label === 'distilled') some.set(key, distilledOutcome(0.7, 0.9, [0, 0]));
    }
    const found = studyResults(study, one, some).lines.find(({ head }) => head === 'distillation')!;
    // Right by the distillation head alone on images 1, 3, 6, 8 and 10 (0.5 of ten), by the plain one alone on none.
    expect(found.difference).toMatchObject({ over: 'images', count: 10 });
    expect(found.difference!.mean).toBeCloseTo(0.5, 12);
    // Of 10 images a resample has binomially many of these: 2 and 8 are the 2.5 % and 97.5 % quantiles.
    expect(found.difference!.low).toBeCloseTo(0.2, 12);
    expect(found.difference!.high).toBeCloseTo(0.8, 12);
    const none = studyResults(study, one, new Map());
    expect(none.lines.every(({ spread, difference }) => spread === null && difference === null)).toBe(true);
    expect(none.claims.every(({ verdict }) => verdict === 'not run')).toBe(true);
    expect(none.disagreement).toEqual([]);
  });
});
