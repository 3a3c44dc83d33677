/** A model's logits on the host, checked to be finite. Browser-safe. */
import { findNonFinite, numel } from '../engine/index.ts';
import type { Engine, Recording, Tensor } from '../engine/index.ts';
import { readTensors, stateValues, withModulePaths } from '../nn/index.ts';
import type { HostLogits } from './logits.ts';
import { ImageInput } from './image-input.ts';
import type { HostImages } from './image-input.ts';
import type { Classifier } from './models/classifier.ts';
import { explainNonFinite, firstNonFinite } from './non-finite.ts';

/** What logits were computed from. */
export interface LogitsOf {
  readonly engine: Engine;
  readonly model: Classifier;
  /** [rows, 3, size, size]. */
  readonly images: HostImages;
  readonly imageSize: number;
  /** What to call the image of a row in an error. */
  readonly nameOf: (row: number) => string;
}

/** Throws `non-finite`, naming weights, image or the operator that overflows, if a logit is NaN or infinite. */
export async function expectFiniteLogits(logits: HostLogits, of: LogitsOf): Promise<void> {
  const { engine, model, imageSize } = of;
  for (const values of [logits.cls, logits.dist]) {
    const index = values ? firstNonFinite(values) : -1;
    if (index < 0) continue;
    const row = Math.floor(index / model.classes);
    const images = of.images instanceof Float32Array ? of.images : of.images.normalized();
    const shape = [1, images.length / (values!.length / model.classes) / imageSize ** 2, imageSize, imageSize];
    const image = images.subarray(row * numel(shape), (row + 1) * numel(shape));
    throw await explainNonFinite('logits', {
      inputs: new Map([[of.nameOf(row), { shape, data: image }]]),
      weights: async () => stateValues(await readTensors(model.stateDict())),
      source: 'the model',
      examine: () =>
        findNonFinite(engine, () =>
          withModulePaths(engine, model, '', () =>
            evaluating(model, () => void engine.noGrad(() => model.heads(engine.tensor(image, shape)))),
          ),
        ),
      f16: model.precision === 'f16',
    });
  }
}

/** Runs `work` with the model in evaluation mode, and puts it back into its own. */
function evaluating(model: Classifier, work: () => void): void {
  const { training } = model;
  model.eval();
  try {
    work();
  } finally {
    model.train(training);
  }
}

/** The forward pass of a model in evaluation mode, recorded once for batches of up to `batchSize` images. */
export class ForwardPass {
  private readonly input: ImageInput;
  private readonly cls: Tensor;
  private readonly dist: Tensor | null;
  private recording: Recording | null = null;

  constructor(
    private readonly engine: Engine,
    private readonly model: Classifier,
    batchSize: number,
    private readonly imageSize: number,
  ) {
    this.input = new ImageInput(engine, batchSize, imageSize);
    this.cls = engine.empty([batchSize, model.classes]).keep('metrics');
    this.dist = model.distilled ? engine.empty([batchSize, model.classes]).keep('metrics') : null;
  }

  /** Logits of as many images as there are. Passes may be under way at a time; their results come in order. */
  async run(images: HostImages, nameOf: LogitsOf['nameOf']): Promise<HostLogits> {
    const { engine, model, imageSize } = this;
    this.input.write(images);
    if (this.recording) engine.replay(this.recording);
    else this.recording = engine.record(() => evaluating(model, () => engine.noGrad(() => this.record())));
    const rows = images instanceof Float32Array ? images.length / (3 * imageSize * imageSize) : images.count;
    const own = (values: ArrayLike<number>): Float32Array => (values as Float32Array).subarray(0, rows * model.classes);
    const [cls, dist] = await Promise.all([this.cls.read(), this.dist?.read()]);
    const logits = { cls: own(cls), dist: dist ? own(dist) : null };
    await expectFiniteLogits(logits, { engine, model, images, imageSize, nameOf });
    return logits;
  }

  release(): void {
    this.recording?.release();
    this.input.release();
    for (const tensor of [this.cls, this.dist]) if (tensor) this.engine.free(tensor);
  }

  private record(): void {
    const { cls, dist } = this.model.heads(this.input.images);
    this.engine.copy(cls, this.cls);
    if (dist && this.dist) this.engine.copy(dist, this.dist);
  }
}
