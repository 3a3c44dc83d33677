import { createDryEngine } from '../../engine/index.ts';
import type { DryRun, Engine } from '../../engine/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { createModel } from '../../deit/models/registry.ts';
import type { Classifier, Precision } from '../../deit/models/classifier.ts';
import { resolveRecipe } from '../../deit/recipe/resolve.ts';
import { emptyTraining } from '../../deit/train/training-plan.ts';

type DryCommand = DryRun['commands'][number];

/** What a device would be told to do in a step. */
export interface Step {
  readonly name: string;
  readonly precision: Precision;
  readonly batch: number;
  readonly commands: readonly DryCommand[];
}

export const STUDENTS = { 'DeiT-Ti': 'deit_tiny', 'DeiT-S': 'deit_small', 'DeiT-B': 'deit_base' } as const;
export type StudentName = keyof typeof STUDENTS;
export const TEACHER = 'RegNetY-16GF';
const IMAGE = 224;
const CLASSES = 1000;

/** The commands that `work` hands over, after what `prepare` has. */
async function listed<Prepared>(
  profile: DeviceProfile,
  prepare: (engine: Engine) => Prepared | Promise<Prepared>,
  work: (engine: Engine, prepared: Prepared) => unknown,
): Promise<DryCommand[]> {
  const { engine, commands } = createDryEngine(profile);
  try {
    const prepared = await prepare(engine);
    await engine.idle();
    const before = commands.length;
    await work(engine, prepared);
    await engine.idle();
    return commands.slice(before);
  } finally {
    engine.close();
  }
}

/** A training step as DeiT's recipe for hard distillation has it, but for the teacher's part: its logits are given. */
async function training(profile: DeviceProfile, name: StudentName, precision: Precision, batch: number): Promise<Step> {
  const recipe = resolveRecipe({
    'model.name': `${STUDENTS[name]}_distilled_patch16_224`,
    'model.precision': precision,
    'data.batchSize': batch,
    'distillation.type': 'hard',
    'optim.ema': 0.99996,
  });
  const commands = await listed(
    profile,
    (engine) => {
      const cls = engine.zeros([batch, CLASSES]).keep('input');
      const teacher = { heads: () => ({ cls, dist: null }) } as unknown as Classifier;
      return emptyTraining(engine, recipe, CLASSES, { teacher });
    },
    (_engine, { step }) => step(0),
  );
  return { name, precision, batch, commands };
}

async function forward(profile: DeviceProfile, precision: Precision, batch: number): Promise<Step> {
  const commands = await listed(
    profile,
    (engine) => {
      const model = createModel(engine, 'regnety_160').requiresGrad_(false).eval();
      model.precision = precision;
      return { model, images: engine.empty([batch, 3, IMAGE, IMAGE]).keep('input') };
    },
    (engine, { model, images }) => engine.scope(() => engine.noGrad(() => model.heads(images))),
  );
  return { name: TEACHER, precision, batch, commands };
}

/** The gradients of a teacher that is trained itself: the steps of its optimizer are those of DeiT's. */
async function gradients(profile: DeviceProfile, precision: Precision, batch: number): Promise<Step> {
  const commands = await listed(
    profile,
    (engine) => {
      const model = createModel(engine, 'regnety_160').train(true);
      model.precision = precision;
      return { model, images: engine.empty([batch, 3, IMAGE, IMAGE]).keep('input') };
    },
    (engine, { model, images }) => engine.scope(() => model.heads(images).cls.sum().backward()),
  );
  return { name: `${TEACHER}, gradients`, precision, batch, commands };
}

/** Training steps of DeiT, and the teacher's forward pass and gradients, as the engine would have them done by a device. */
export async function stepsOf(
  profile: DeviceProfile,
  batch: number,
  students: readonly StudentName[] = Object.keys(STUDENTS) as StudentName[],
  withTeacher = true,
): Promise<Step[]> {
  const steps: Step[] = [];
  for (const precision of profile.f16 ? (['f32', 'f16'] as const) : (['f32'] as const)) {
    for (const name of students) steps.push(await training(profile, name, precision, batch));
    if (withTeacher) steps.push(await forward(profile, precision, batch), await gradients(profile, precision, batch));
  }
  return steps;
}

export const launchesOf = (steps: readonly Step[]) =>
  steps.flatMap(({ commands }) => commands.flatMap((command) => (command.kind === 'dispatch' ? [command.launch] : [])));
