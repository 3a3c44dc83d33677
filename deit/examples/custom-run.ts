/**
 * A whole training run, with checkpoints and metrics, with your own student and teacher.
 * Run it: npx tsx deit/examples/custom-run.ts FOLDER [steps]
 */
import { createEngine, globalAvgPool } from '../../engine/node.ts';
import type { Engine, Shape, Tensor } from '../../engine/node.ts';
import { BatchNorm2d, Conv2d, Linear, Module, Sequential } from '../../nn/index.ts';
import type { LayerShapes } from '../../nn/index.ts';
import { RunFolder, registerModel, resolveRecipe, trainRecipe } from '../node.ts';
import type { Classifier, Logits, Reporter } from '../node.ts';

const [folder = 'runs/custom', steps = '60'] = process.argv.slice(2);

/** Convolutions of stride 2 with batch norm and ReLU, average pooling, a linear head. */
class ConvNet extends Module implements Classifier {
  readonly distilled = false;
  precision = 'f32' as const;
  private readonly layers: Sequential;
  private readonly head: Linear;

  constructor(
    engine: Engine,
    readonly classes: number,
    widths: readonly number[],
  ) {
    super();
    const layers = widths
      .slice(1)
      .flatMap((width, i) => [
        new Conv2d(engine, widths[i], width, 3, { stride: 2, padding: 1, bias: false }),
        new BatchNorm2d(engine, width, { relu: true }),
      ]);
    this.layers = new Sequential(...layers);
    this.head = new Linear(engine, widths.at(-1)!, classes);
  }

  embed(images: Tensor): Tensor {
    return globalAvgPool(this.layers.forward(images));
  }

  heads(images: Tensor): Logits {
    return { cls: this.head.forward(this.embed(images)), dist: null };
  }

  describe(image: Shape): LayerShapes {
    const parts = [this.layers.describe(image), this.head.describe([this.head.inFeatures])];
    return { module: this, type: 'ConvNet', outputShape: [this.classes], parts };
  }
}

const model = (widths: readonly number[]) => ({
  imageSize: 32,
  create: (engine: Engine, { classes }: { classes: number }) => new ConvNet(engine, classes, widths),
});
registerModel('convnet_student', model([3, 8, 16]));
registerModel('convnet_teacher', model([3, 16, 32, 64]));

const recipe = resolveRecipe({
  'data.path': 'cifar10-sample',
  'data.batchSize': 32,
  'data.workers': 0,
  'model.name': 'convnet_student',
  'teacher.model': 'convnet_teacher',
  'distillation.type': 'soft',
  'schedule.steps': Number(steps),
  'run.evaluateEvery': 0,
});
const ignore = (): void => undefined;
const reporter: Reporter = { say: console.error, begin: ignore, step: ignore, evaluated: ignore, end: ignore };

const engine = await createEngine({ seed: recipe['run.seed'] });
const run = RunFolder.create('custom', folder);
try {
  const result = await trainRecipe(engine, { recipe, folder: run, reporter });
  console.log(JSON.stringify({ ...result.accuracy, steps: result.steps, files: [run.path] }));
} finally {
  run.close();
  engine.close();
}
