import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assetPath } from '../../deit/data/node/assets.ts';
import { recipeReferenceText, shippedRecipes } from '../../deit/cli/recipes.ts';
import { parseAugment } from '../../deit/data/rand-augment.ts';
import { describeModel } from '../../deit/models/registry.ts';
import { ablations } from '../../deit/recipe/reference.ts';
import { nestRecipe, parseAssignment, parseRecipe, resolveRecipe } from '../../deit/recipe/resolve.ts';
import { recipeSchema } from '../../deit/recipe/schema.ts';
import { defaultRecipe, settingNames, settings } from '../../deit/recipe/settings.ts';
import type { Recipe, Setting, SettingName } from '../../deit/recipe/settings.ts';
import { lengthOf, microBatch, mixingOf, scheduleOf } from '../../deit/train/setup.ts';
import { learningRate } from '../../nn/schedule.ts';

const shipped = (name: string, ...sets: string[]): Recipe => {
  const file = assetPath('recipes', `${name}.json`);
  return resolveRecipe(parseRecipe(readFileSync(file, 'utf8'), file), ...sets.map(parseAssignment));
};
const differences = (a: Recipe, b: Recipe): string[] => settingNames.filter((name) => a[name] !== b[name]);

/** Learning rate in epoch `epoch` of a run with the given steps per epoch. */
const rate = (recipe: Recipe, epoch: number): number =>
  learningRate(scheduleOf(recipe, 'student', recipe['schedule.epochs']), epoch * 1251, 1251);

describe('recipes that ship', () => {
  it.each(shippedRecipes())(
    '%s names its schema, models that exist, a known policy and whole micro-batches',
    (name) => {
      const text = readFileSync(assetPath('recipes', `${name}.json`), 'utf8');
      expect(text).toMatch(/^(\/\/.*\n)+/);
      expect(text).toContain('"$schema": "../recipe.schema.json"');
      const recipe = shipped(name);
      const model = describeModel(recipe['model.name']);
      expect(model.distilled).toBe(recipe['model.name'].includes('distilled'));
      if (recipe['teacher.model']) expect(describeModel(recipe['teacher.model']).classes).toBe(model.classes);
      if (recipe['augment.policy']) parseAugment(recipe['augment.policy']);
      expect(Number.isInteger(microBatch(recipe))).toBe(true);
    },
  );

  it.each(shippedRecipes())('%s has as many classes as the data', (name) => {
    const recipe = shipped(name);
    for (const model of [recipe['model.name'], recipe['teacher.model']]) {
      expect(model ?? '').not.toMatch(/num_classes|classes=/);
    }
  });

  it("are the paper's Table 9 for ImageNet", () => {
    // arXiv 2012.12877 v2, Table 9, column DeiT-B; erasing, mixup and cutmix as in the released code's defaults.
    const table: Partial<Recipe> = {
      'schedule.epochs': 300,
      'data.batchSize': 1024,
      'optim.name': 'adamw',
      'optim.weightDecay': 0.05,
      'schedule.warmupEpochs': 5,
      'augment.smoothing': 0.1,
      'model.dropPath': 0.1,
      'augment.repeats': 3,
      'optim.clip': null,
      'augment.policy': 'rand-m9-mstd0.5-inc1',
      'augment.mixup': 0.8,
      'augment.cutmix': 1,
      'augment.erasing': 0.25,
      'optim.ema': null,
      'schedule.warmupLr': 1e-6,
      'schedule.minLr': 1e-5,
      'optim.eps': 1e-8,
    };
    for (const size of ['ti', 's', 'b']) {
      const plain = shipped(`deit-${size}-imagenet`);
      expect(plain).toMatchObject(table);
      expect(differences(plain, defaultRecipe()).sort()).toEqual(
        ['data.path', 'data.workers', 'model.name'].filter(
          (name) => plain[name as SettingName] !== defaultRecipe()[name as SettingName],
        ),
      );
      const distilled = shipped(`deit-${size}-distilled-imagenet`);
      expect(distilled).toMatchObject({ ...table, 'distillation.type': 'hard', 'distillation.alpha': 0.5 });
      const long = shipped(`deit-${size}-distilled-imagenet-1000-epochs`);
      expect(differences(long, distilled)).toEqual(['schedule.epochs']);
      expect(long['schedule.epochs']).toBe(1000);
    }
  });

  it('scale the learning rate with the batch: 1e-3 at 1024, by the schedule of the released code', () => {
    const recipe = shipped('deit-b-imagenet');
    expect(scheduleOf(recipe, 'student', 300).base).toBeCloseTo(1e-3, 12);
    // Worked out by script from timm's scheduler as the released code calls it: epochs 0 and 1 alike, the cosine from 0.
    const expected: [number, number][] = [
      [0, 1e-6], [1, 1e-6], [2, 2.008e-4], [5, 8.002e-4], [6, 9.99322e-4], [7, 9.99023e-4], [50, 9.36251e-4],
      [150, 5.10184e-4], [299, 1.01086e-5],
    ]; // prettier-ignore
    for (const [epoch, lr] of expected) expect(rate(recipe, epoch) / lr).toBeCloseTo(1, 4);
    expect(scheduleOf(shipped('deit-b-imagenet', 'data.batchSize=256'), 'student', 300).base).toBeCloseTo(2.5e-4, 12);
    // 1251 steps an epoch with the last, smaller batch left out: 375,300 in all.
    expect(lengthOf(recipe, 'student', Math.floor(1_281_167 / 1024), 0)).toEqual({ steps: 375_300, seconds: null });
  });

  it('fine-tune at 384 pixels at a constant rate, in evaluation mode', () => {
    const recipe = shipped('deit-b-finetune-384');
    expect(describeModel(recipe['model.name']).imageSize).toBe(384);
    expect(recipe).toMatchObject({ 'optim.weightDecay': 1e-8, 'schedule.epochs': 30, 'run.trainMode': false });
    const rates = [0, 1, 2, 3, 4, 5, 6, 7, 29].map((epoch) => rate(recipe, epoch));
    [1e-6, 1e-6, 1.8e-6, 2.6e-6, 3.4e-6, 4.2e-6, 5e-6, 5e-6, 5e-6].forEach((lr, i) =>
      expect(rates[i] / lr).toBeCloseTo(1, 9),
    );
    // The augmentation is not weakened.
    expect(differences(recipe, shipped('deit-b-imagenet')).filter((name) => name.startsWith('augment'))).toEqual([]);
    const distilled = shipped('deit-b-distilled-finetune-384');
    expect(distilled).toMatchObject({
      'distillation.type': 'hard',
      'teacher.model': 'regnety_160',
      'run.trainMode': false,
    });
    expect(describeModel(distilled['model.name']).imageSize).toBe(384);
  });

  it('transfer as the first author states it', () => {
    const sgd = shipped('transfer-sgd');
    expect(sgd).toMatchObject({
      'optim.name': 'sgd', 'optim.weightDecay': 1e-4, 'data.batchSize': 768, 'schedule.epochs': 1000, 'augment.erasing': 0, 'model.dropPath': 0,
    }); // prettier-ignore
    expect(scheduleOf(sgd, 'student', 1000).base).toBe(0.01);
    const adamw = shipped('transfer-adamw');
    expect(adamw).toMatchObject({
      'optim.name': 'adamw',
      'schedule.epochs': 360,
      'augment.erasing': 0.1,
      'model.dropPath': 0.1,
    });
    expect(scheduleOf(adamw, 'student', 360).base).toBe(7.5e-5);
  });
});

describe("the paper's Table 8", () => {
  it('has its thirteen lines, each within reach of --set', () => {
    expect(ablations).toHaveLength(13);
    for (const { recipe, set } of ablations) {
      const changed = differences(shipped(recipe, ...set), shipped(recipe));
      expect(changed).toEqual(set.map((assignment) => assignment.slice(0, assignment.indexOf('='))));
    }
  });

  it('does what its lines say', () => {
    const of = (change: string): Recipe => {
      const { recipe, set } = ablations.find((line) => line.change === change)!;
      return shipped(recipe, ...set);
    };
    expect(of('no RandAugment')['augment.policy']).toBeNull();
    expect(parseAugment(of('AutoAugment instead')['augment.policy']!)).toMatchObject({
      kind: 'policy',
      policy: 'original',
    });
    expect(mixingOf(of('no mixup'), 'student')).toMatchObject({ mixupAlpha: 0, cutmixAlpha: 1 });
    expect(mixingOf(of('no cutmix'), 'student')).toMatchObject({ mixupAlpha: 0.8, cutmixAlpha: 0 });
    expect(mixingOf(of('neither mixup nor cutmix'), 'student')).toMatchObject({ probability: 0 });
    expect(describeModel(of('dropout')['model.name']).spec).toContain('drop_rate=0.1');
    expect(of('moving average of the weights')['optim.ema']).toBe(0.99996);
  });
});

/** Any value that a setting takes. */
function valuesOf(setting: Setting): fc.Arbitrary<string | number | boolean | null> {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('// "a"', '/* */ ,}', '\\', '\ud800', '__proto__'),
  );
  switch (setting.kind) {
    case 'flag':
      return fc.boolean();
    case 'text':
      return text;
    case 'text?':
      return fc.option(text);
    case 'choice':
      return fc.constantFrom(...setting.choices);
    default: {
      const { kind, min, max } = setting;
      const number = kind.startsWith('integer') ? fc.integer({ min, max }) : fc.double({ min, max, noNaN: true });
      return kind.endsWith('?') ? fc.option(number) : number;
    }
  }
}
const anyRecipe = fc.record(
  Object.fromEntries(settingNames.map((name) => [name, valuesOf(settings[name])])),
) as fc.Arbitrary<Recipe>;

/** After a change of the settings, `npm run recipes` makes schema and reference anew. */
describe('recipe files', () => {
  it('are described by the schema that ships', () => {
    const schema = JSON.parse(readFileSync(assetPath('recipe.schema.json'), 'utf8')) as {
      properties: Record<string, { properties?: Record<string, { default: unknown }> }>;
    };
    expect(schema).toEqual(recipeSchema());
    const { $schema, ...sections } = schema.properties;
    expect($schema).toEqual({ type: 'string' });
    const defaults = Object.entries(sections).flatMap(([section, { properties }]) =>
      Object.entries(properties!).map(([key, setting]) => [`${section}.${key}`, setting.default]),
    );
    expect(Object.fromEntries(defaults)).toEqual(defaultRecipe());
  });

  it('are documented by the reference that ships', () => {
    expect(readFileSync(new URL('../../deit/RECIPES.md', import.meta.url), 'utf8')).toBe(recipeReferenceText());
  });

  it('any valid recipe comes back from a saved run as it was, with a length that can be counted', () => {
    fc.assert(
      fc.property(anyRecipe, fc.integer({ min: 1, max: 1e7 }), (recipe, stepsPerEpoch) => {
        const resolved = resolveRecipe(recipe);
        // Whatever the command line takes, -0 for 0 is all that may change.
        expect(resolved).toEqual(Object.fromEntries(Object.entries(recipe).map(([k, v]) => [k, v === 0 ? 0 : v])));
        const file = JSON.stringify(nestRecipe(resolved), null, 2);
        expect(resolveRecipe(parseRecipe(file, 'config.json'))).toEqual(resolved);
        for (const role of ['teacher', 'student'] as const) {
          const { steps } = lengthOf(resolved, role, stepsPerEpoch, 0);
          expect(Number.isSafeInteger(steps) && steps >= 1).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each(settingNames.filter((name) => /^integer/.test(settings[name].kind)))(
    '%s takes whole numbers alone, within what can be counted',
    (name) => {
      const wrong = `${name} is 14648.4375, not a whole number`;
      expect(() => resolveRecipe({ [name]: 14648.4375 })).toThrow(wrong);
      expect(() => resolveRecipe(parseAssignment(`${name}=14648.4375`))).toThrow(wrong);
      expect(() => resolveRecipe({ [name]: 1e300 })).toThrow(/more than/);
    },
  );

  it('may begin with a byte order mark', () => {
    expect(parseRecipe('\uFEFF{ "optim": { "lr": 1 } }', 'file')).toEqual({ 'optim.lr': 1 });
  });

  it('come back from a saved run as they were', () => {
    const recipe = shipped('finetune', 'optim.lr=1e-4', 'augment.policy=v0');
    expect(resolveRecipe(parseRecipe(JSON.stringify(nestRecipe(recipe)), 'saved'))).toEqual(recipe);
    expect(resolveRecipe(parseRecipe(JSON.stringify(nestRecipe(recipe, true)), 'saved'))).toEqual(recipe);
  });

  it('name every mistake at once, with its place and the nearest name', () => {
    const wrong = () => resolveRecipe({ 'optim.lrr': 1, 'augment.erasing': 2, 'data.batchSize': 1.5, 'optim.name': 'lion', 'run.seed': -1, 'model.name': 3 }); // prettier-ignore
    for (const part of ['"optim.lr"', 'augment.erasing is 2, more than 1', 'data.batchSize is 1.5, not a whole number', 'not one of adamw, sgd', 'run.seed is -1, less than 0', 'model.name is 3, not a text']) {
      expect(wrong).toThrow(part);
    } // prettier-ignore
    expect(() => parseRecipe('{ "optim": { "lr": { "x": 1 } } }', 'mine.json')).toThrow(/mine\.json, optim\.lr/);
    expect(() => parseRecipe('{ "optim": ', 'mine.json')).toThrow(/mine\.json/);
    expect(() => parseRecipe('[]', 'mine.json')).toThrow(/object of sections/);
    expect(() => parseAssignment('optim.lr')).toThrow(/key=value/);
  });
});
