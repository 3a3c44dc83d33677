/** Which models a run trains and learns from. Node only. */
import { DeitError } from '../../../engine/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { describeModel } from '../../models/registry.ts';
import type { Recipe } from '../../recipe/settings.ts';
import { applyPrecision } from '../setup.ts';
import type { Sources } from './sources.ts';

/** Name with options of the teacher of a recipe. One that comes with weights may know more classes than the data has. */
export function teacherSpec(
  recipe: Recipe,
  sources: Pick<Sources, 'classes' | 'name'>,
  imageSize: number,
  hasWeights: boolean,
): string {
  const name = teacherOf(recipe);
  const own = describeModel(hasWeights ? describeModel(name, { classes: sources.classes.length }).spec : specFor(name, sources)); // prettier-ignore
  // A DeiT as teacher is brought to the student's resolution, whose images it sees; a RegNetY takes any.
  return own.imageSize === imageSize ? own.spec : describeModel(own.spec, { imageSize }).spec;
}

/** A teacher ready to be learned from: in evaluation mode, and in the student's precision. */
export function frozen(model: Classifier, recipe: Recipe): Classifier {
  applyPrecision(model, recipe['model.precision']);
  model.requiresGrad_(false).eval();
  return model;
}

function teacherOf(recipe: Recipe): string {
  const name = recipe['teacher.model'];
  if (name) return name;
  throw new DeitError('bad-config', 'Distillation needs a teacher.', {
    where: 'teacher.model',
    fix: 'name one, for example --set "teacher.model=regnety_002 num_classes=10", or set distillation.type=none',
  });
}

/** A model's name with the number of classes of the data, unless it states one itself, which must then be the same. */
export function specFor(name: string, { classes, name: data }: Pick<Sources, 'classes' | 'name'>): string {
  const own = describeModel(name);
  if (own.classes === classes.length) return own.spec;
  if (!own.spec.includes(' num_classes=')) return describeModel(name, { classes: classes.length }).spec;
  throw new DeitError('bad-config', 'The model has another number of classes than the data.', {
    where: `${name} on ${data}`,
    expected: `${classes.length} classes`,
    found: String(own.classes),
    fix: `leave num_classes out of the model name, or make it ${classes.length}`,
  });
}
