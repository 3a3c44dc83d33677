import { describe, expect, it } from 'vitest';
import { resolveRecipe } from '../../deit/recipe/resolve.ts';
import type { Overrides } from '../../deit/recipe/resolve.ts';
import { parseStudy } from '../../deit/study/definition.ts';
import type { Study } from '../../deit/study/definition.ts';
import { planStudy } from '../../deit/study/node/plan.ts';
import type { DataFacts, StudyOptions, StudyPlan } from '../../deit/study/node/plan.ts';
import { openStudy, shippedStudies } from '../../deit/study/node/studies.ts';

const facts = (drawn: boolean): DataFacts => ({
  classes: ['a', 'b'],
  training: 1000,
  heldOut: 100,
  drawn,
  stepsPerEpoch: () => 10,
});
const entry = (value: string) => ({ name: value, value, weak: false });
const BASE: Overrides = {
  'model.name': 'deit_tiny_patch16_224 img_size=32 patch_size=8',
  'data.batchSize': 32,
  'schedule.steps': 100,
  'teacher.share': 0.5,
};

function planned(study: Study, { drawn = false, ...options }: Partial<StudyOptions> & { drawn?: boolean } = {}) {
  const base = resolveRecipe(study.settings, BASE);
  return planStudy(
    study,
    {
      base,
      seeds: [0, 1],
      students: study.students ?? [entry(base['model.name'])],
      teachers: study.teachers ?? [entry('regnety_002 stem_stride=1')],
      data: study.data ?? [entry('cifar10-sample')],
      rows: null,
      ...options,
    },
    () => facts(drawn),
  );
}
const shipped = async (name: string, options: Parameters<typeof planned>[1] = {}): Promise<StudyPlan> =>
  planned((await openStudy(name)).study, options);
const labels = ({ runs }: StudyPlan): string[] => runs.map(({ label, seed }) => `${label} ${seed}`);

describe('the plan of a study', () => {
  it('has a run for every row and seed, and a teacher once, which comes first', async () => {
    const plan = await shipped('distillation');
    expect(labels(plan)).toEqual([
      'teacher regnety_002 stem_stride=1 0',
      'plain 0',
      'plain 1',
      ...['plain, soft labels', 'plain, hard labels', 'distilled, hard labels', 'distilled, soft labels'].flatMap(
        (row) => [`${row} 0`, `${row} 1`],
      ),
    ]);
    const [teacher, ...students] = plan.runs;
    for (const { recipe, teacher: own } of students.slice(2)) {
      expect(recipe['teacher.weights']).toBe(`run:${teacher.key}`);
      expect(own?.key).toBe(teacher.key);
    }
    // Half of the time is the teacher's: as many steps, by SGD from 0.1 * 32 / 256 down to 0.
    expect(teacher.recipe).toMatchObject({
      'schedule.steps': 100,
      'optim.name': 'sgd',
      'optim.lr': 0.0125,
      'schedule.minLr': 0,
      'augment.mixup': 0,
    });
  });

  it('trains a teacher for each seed where the seed decides what is held out, so that none has seen it', async () => {
    const plan = await shipped('distillation', { drawn: true });
    expect(labels(plan).slice(0, 2)).toEqual([
      'teacher regnety_002 stem_stride=1 0',
      'teacher regnety_002 stem_stride=1 1',
    ]);
    for (const { seed, teacher } of plan.runs.filter((run) => run.teacher !== null)) {
      expect(plan.runs.find(({ key }) => key === teacher!.key)!.seed).toBe(seed);
    }
  });

  it('shares the runs of two studies by the hash of their recipes, and of no other recipe', async () => {
    const keys = async (name: string): Promise<string[]> => (await shipped(name)).runs.map(({ key }) => key);
    const all = new Set(await keys('distillation'));
    const disagreement = await keys('disagreement');
    expect(disagreement).toHaveLength(5);
    expect(disagreement.filter((key) => !all.has(key))).toEqual([]);
    // Of epochs the teacher and the longest of each row are the same.
    expect((await keys('epochs')).filter((key) => all.has(key))).toHaveLength(7);
    const other = await shipped('disagreement', { seeds: [2, 3] });
    expect(other.runs.filter(({ key }) => all.has(key))).toEqual([]);
  });

  it("has the paper's values beside its lines", async () => {
    const { study } = await openStudy('distillation');
    const plan = planned(study, {
      students: ['deit_tiny_patch16_224', 'deit_small_patch16_224', 'deit_base_patch16_224'].map(entry),
    });
    const of = (row: string, head = 'average') =>
      plan.lines.filter((line) => line.row === row && line.head === head).map(({ paper }) => paper);
    // Table 3 of arXiv 2012.12877 v2.
    expect(of('plain')).toEqual([72.2, 79.8, 81.8]);
    expect(of('plain, soft labels')).toEqual([72.2, 79.8, 81.8]);
    expect(of('plain, hard labels')).toEqual([74.3, 80.9, 83.0]);
    expect(of('distilled, hard labels', 'class')).toEqual([73.9, 80.9, 83.0]);
    expect(of('distilled, hard labels', 'distillation')).toEqual([74.6, 81.1, 83.1]);
    expect(of('distilled, hard labels')).toEqual([74.5, 81.2, 83.4]);
    expect(of('distilled, soft labels')).toEqual([null, null, null]);
    expect(plan.axes).toEqual(['student']);
  });

  it('repeats rows along teachers, lengths and data', async () => {
    const teachers = await shipped('teachers', { seeds: [0] });
    expect(teachers.axes).toEqual(['teacher']);
    expect(teachers.lines.map(({ name, teacher, paper }) => [name, teacher, paper])).toEqual([
      ['no teacher', '', 81.8],
      ['distilled', 'RegNetY, small', 82.7],
      ['distilled', 'RegNetY, medium', 82.7],
      ['distilled', 'RegNetY, large', 83.1],
      ['distilled', 'DeiT', 81.9],
    ]);
    // The DeiT that teaches learns as a student does, here for as long: it is the student without teacher.
    const taught = teachers.runs.find(({ teacher }) => teacher?.entry.name === 'DeiT')!;
    const deit = teachers.runs.find(({ key }) => key === taught.teacher!.key)!;
    expect(deit).toMatchObject({ label: 'no teacher', recipe: { 'optim.name': 'adamw', 'distillation.type': 'none' } });
    const epochs = await shipped('epochs', { seeds: [0] });
    expect(epochs.lines.map(({ length }) => length)).toEqual([30, 50, 100].flatMap((n) => new Array<string>(3).fill(`${n} steps`))); // prettier-ignore
    expect(epochs.runs.filter(({ role }) => role === 'teacher')).toHaveLength(1);
    const { study } = await openStudy('transfer');
    // As its recipe, by which fine-tuned rows differ from the row from scratch.
    const base = resolveRecipe(study.settings, BASE, { 'model.weights': 'shipped' });
    const transfer = planned(study, { base, data: [entry('cifar10-sample'), entry('/photos')], seeds: [0] });
    expect(transfer.axes).toEqual(['data']);
    expect(transfer.runs.map(({ recipe }) => recipe['data.path'])).toEqual([
      ...new Array<string>(3).fill('cifar10-sample'),
      ...new Array<string>(3).fill('/photos'),
    ]);
  });

  it('changes in an ablation one ingredient at a time, and fine-tunes the weights of another row', async () => {
    const plan = await shipped('ablation', { seeds: [0] });
    const recipeOf = (row: string) => plan.lines.find((line) => line.row === row)!.settings;
    const whole = recipeOf('the recipe');
    const changed = (row: string): string[] =>
      Object.entries(recipeOf(row)).flatMap(([name, value]) => (value === whole[name as keyof typeof whole] ? [] : [name])); // prettier-ignore
    expect(changed('no RandAugment')).toEqual(['augment.policy']);
    expect(changed('AutoAugment instead')).toEqual(['augment.policy']);
    expect(changed('neither mixup nor cutmix')).toEqual(['augment.mixup', 'augment.cutmix']);
    expect(changed('no erasing')).toEqual(['augment.erasing']);
    expect(changed('no stochastic depth')).toEqual(['model.dropPath']);
    expect(changed('no repeated augmentation')).toEqual(['augment.repeats']);
    expect(recipeOf('with dropout')['model.name']).toContain('drop_rate=0.1');
    expect(plan.lines.find(({ row }) => row === 'with moving average')!.head).toBe('ema');
    const tuned = recipeOf('then fine-tuned at a higher resolution');
    expect(tuned['model.name']).toContain('img_size=56');
    expect(tuned['model.weights']).toBe(`run:${plan.runs.find(({ label }) => label === 'the recipe')!.key}`);
  });

  it('is made for every study that ships', async () => {
    for (const name of shippedStudies()) expect((await shipped(name)).runs.length, name).toBeGreaterThan(3);
  });

  it('says all mistakes in settings at once', () => {
    const study = parseStudy(
      JSON.stringify({
        about: 'x',
        rows: [
          { name: 'a', settings: { 'optim.rl': 1 } },
          { name: 'b', settings: { 'augment.mixup': 'much' } },
          { name: 'c', heads: ['ema'] },
          { name: 'd', token: false, heads: ['distillation'] },
        ],
      }),
      'mine.json',
    );
    expect(() => planned(study)).toThrow(/a: .*optim\.rl.*b: .*augment\.mixup is "much", not a number.*c: .*optim\.ema.*d: .*distillation head/s); // prettier-ignore
  });
});

describe('a study file', () => {
  const parse = (content: object) => () => parseStudy(JSON.stringify(content), 'mine.json');
  it('is refused with all that is wrong with it', () => {
    expect(parse({ about: 'x', rows: [] })).toThrow('rows');
    expect(parse({ about: 'x', rows: [{ name: 'a', tokens: true }] })).toThrow('tokens');
    expect(parse({ about: 'x', rows: [{ name: 'a' }, { name: 'a' }], baseline: { row: 'b' } })).toThrow(
      /two rows are called "a".*baseline names the row "b"/s,
    );
    expect(
      parse({ about: 'x', rows: [{ name: 'a' }], claims: [{ text: 'c', higher: { between: ['truth', 'me'] }, lower: { row: 'a' } }] }), // prettier-ignore
    ).toThrow('names the predictor "me"');
    expect(() => parseStudy('{ about: 1 }', 'mine.json')).toThrow('not JSON');
  });
});
