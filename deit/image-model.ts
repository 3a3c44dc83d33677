/** A trained model with all that is needed to use it on photos. Browser-safe. */
import { DeitError, PhiloxStream, Purpose } from '../engine/index.ts';
import type { Engine } from '../engine/index.ts';
import { makeTransform } from './data/index.ts';
import type { EvaluationPipeline, RgbImage } from './data/index.ts';
import { ForwardPass } from './forward-pass.ts';
import { averageLogits, likeliest } from './logits.ts';
import type { Classifier } from './models/index.ts';

/** One class that an image may be of. */
export interface Answer {
  /** Index of the logit. */
  readonly class: number;
  readonly name: string;
  /** Softmax of the average of the heads' logits. */
  readonly probability: number;
}

export interface ImageModelParts<Image> {
  readonly engine: Engine;
  readonly model: Classifier;
  /** Name with options. */
  readonly name: string;
  /** In the order of the logits. */
  readonly classes: readonly string[];
  readonly pipeline: EvaluationPipeline;
  readonly decode: (image: Image) => Promise<RgbImage>;
  /** What errors call an image. */
  readonly nameOf: (image: Image) => string;
  /** Whether `close` closes the engine. */
  readonly ownsEngine: boolean;
}

/** Images that pass through the model at a time. */
const BATCH = 16;

/**
 * Names and vectors of images, as `openModel` gives it. Images are decoded, resized and cropped as in the evaluation of the model.
 * `close()` it, and the process can end.
 */
export class ImageModel<Image> {
  readonly engine: Engine;
  /** The network itself, in evaluation mode. */
  readonly model: Classifier;
  /** Name with options, as `createModel` takes it. */
  readonly name: string;
  readonly classes: readonly string[];
  /** How images are prepared for it. */
  readonly pipeline: EvaluationPipeline;
  /** By the number of images that they are recorded for. */
  private readonly passes = new Map<number, ForwardPass>();
  private readonly transform: ReturnType<typeof makeTransform>;

  constructor(private readonly parts: ImageModelParts<Image>) {
    this.engine = parts.engine;
    this.model = parts.model.eval();
    this.name = parts.name;
    this.classes = parts.classes;
    this.pipeline = parts.pipeline;
    this.transform = makeTransform(parts.pipeline);
  }

  /** What `console.log` shows in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `ImageModel(${this.name}, ${this.classes.length} classes)`;
  }

  /** The `top` likeliest classes of each image, the likeliest first. Throws for an image that cannot be read. */
  async classify(images: readonly Image[], { top = 5 } = {}): Promise<Answer[][]> {
    return this.inBatches(images, (pixels, batch) =>
      this.classifyPlanes(pixels, { top, nameOf: (row) => this.parts.nameOf(batch[row]) }),
    );
  }

  /**
   * The same of images that are prepared already: normalised planes [rows, 3, size, size] by the pipeline of the model. `nameOf`
   * is what errors call the image of a row.
   */
  async classifyPlanes(
    planes: Float32Array,
    { top = 5, nameOf }: { readonly top?: number; readonly nameOf: (row: number) => string },
  ): Promise<Answer[][]> {
    const { imageSize } = this.pipeline;
    const rows = planes.length / (3 * imageSize ** 2);
    const logits = averageLogits(await this.passFor(rows).run(planes, nameOf));
    return rowsOf(logits, rows).map((row) =>
      likeliest(row, top).map((one) => ({ name: this.classes[one.class] ?? `class ${one.class}`, ...one })),
    );
  }

  /** The vector that the class head classifies, of each image: near each other for images that are alike. */
  async embed(images: readonly Image[]): Promise<Float32Array[]> {
    const { engine, model } = this;
    if (!model.embed) {
      throw new DeitError('bad-argument', 'This model has no vectors: its class has no method embed().', {
        where: model.constructor.name,
      });
    }
    const { imageSize } = this.pipeline;
    return this.inBatches(images, async (pixels, batch) => {
      const vectors = engine.scope(() =>
        engine.noGrad(() => model.embed!(engine.tensor(pixels, [batch.length, 3, imageSize, imageSize]))).read(),
      );
      return rowsOf((await vectors) as Float32Array, batch.length);
    });
  }

  /** Gives back the GPU memory, and closes the engine that `openModel` opened. */
  close(): void {
    for (const pass of this.passes.values()) pass.release();
    this.passes.clear();
    if (this.parts.ownsEngine) this.engine.close();
  }

  private async inBatches<Result>(
    images: readonly Image[],
    work: (pixels: Float32Array, batch: readonly Image[]) => Promise<Result[]>,
  ): Promise<Result[]> {
    if (typeof images === 'string' || !(Symbol.iterator in images) || images instanceof Uint8Array) {
      throw new DeitError('bad-argument', 'Images come in a list.', { where: 'ImageModel', found: typeof images, fix: '[image]' }); // prettier-ignore
    }
    const { decode } = this.parts;
    const size = 3 * this.pipeline.imageSize ** 2;
    // The evaluation transform draws nothing.
    const still = new PhiloxStream(0, Purpose.augment);
    const results: Result[] = [];
    for (let first = 0; first < images.length; first += BATCH) {
      const batch = images.slice(first, first + BATCH);
      const pixels = new Float32Array(batch.length * size);
      for (const [i, image] of batch.entries()) this.transform(await decode(image), still, pixels, i * size);
      results.push(...(await work(pixels, batch)));
    }
    return results;
  }

  /** Recorded for a power of two, so that a few recordings serve every number of images; what is left over is filled with zeros. */
  private passFor(rows: number): ForwardPass {
    const size = 2 ** Math.ceil(Math.log2(rows));
    const pass = this.passes.get(size) ?? new ForwardPass(this.engine, this.model, size, this.pipeline.imageSize);
    this.passes.set(size, pass);
    return pass;
  }
}

const rowsOf = (values: Float32Array, rows: number): Float32Array[] =>
  Array.from({ length: rows }, (_, row) =>
    values.slice((row * values.length) / rows, ((row + 1) * values.length) / rows),
  );
