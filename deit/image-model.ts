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
  readonly classes: readonly string[];
  private pass: { readonly size: number; readonly forward: ForwardPass } | null = null;
  private readonly transform: ReturnType<typeof makeTransform>;

  constructor(private readonly parts: ImageModelParts<Image>) {
    this.engine = parts.engine;
    this.model = parts.model.eval();
    this.classes = parts.classes;
    this.transform = makeTransform(parts.pipeline);
  }

  /** The `top` likeliest classes of each image, the likeliest first. Throws for an image that cannot be read. */
  async classify(images: readonly Image[], { top = 5 } = {}): Promise<Answer[][]> {
    const { imageSize } = this.parts.pipeline;
    return this.inBatches(images, async (pixels, batch) => {
      const forward = this.passFor(Math.min(BATCH, images.length), imageSize);
      const logits = averageLogits(await forward.run(pixels, (row) => this.parts.nameOf(batch[row])));
      return rowsOf(logits, batch.length).map((row) =>
        likeliest(row, top).map((one) => ({ name: this.classes[one.class] ?? `class ${one.class}`, ...one })),
      );
    });
  }

  /** The vector that the class head classifies, of each image: near each other for images that are alike. */
  async embed(images: readonly Image[]): Promise<Float32Array[]> {
    const { engine, model } = this;
    if (!model.embed) {
      throw new DeitError('bad-argument', 'This model has no vectors: its class has no method embed().', {
        where: model.constructor.name,
      });
    }
    const { imageSize } = this.parts.pipeline;
    return this.inBatches(images, async (pixels, batch) => {
      const vectors = engine.scope(() =>
        engine.noGrad(() => model.embed!(engine.tensor(pixels, [batch.length, 3, imageSize, imageSize]))).read(),
      );
      return rowsOf((await vectors) as Float32Array, batch.length);
    });
  }

  /** Gives back the GPU memory, and closes the engine that `openModel` opened. */
  close(): void {
    this.pass?.forward.release();
    this.pass = null;
    if (this.parts.ownsEngine) this.engine.close();
  }

  private async inBatches<Result>(
    images: readonly Image[],
    work: (pixels: Float32Array, batch: readonly Image[]) => Promise<Result[]>,
  ): Promise<Result[]> {
    if (typeof images === 'string' || !(Symbol.iterator in images) || images instanceof Uint8Array) {
      throw new DeitError('bad-argument', 'Images come in a list.', { where: 'ImageModel', found: typeof images, fix: '[image]' }); // prettier-ignore
    }
    const { pipeline, decode } = this.parts;
    const size = 3 * pipeline.imageSize ** 2;
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

  private passFor(size: number, imageSize: number): ForwardPass {
    if (this.pass?.size !== size) {
      this.pass?.forward.release();
      this.pass = { size, forward: new ForwardPass(this.engine, this.model, size, imageSize) };
    }
    return this.pass.forward;
  }
}

const rowsOf = (values: Float32Array, rows: number): Float32Array[] =>
  Array.from({ length: rows }, (_, row) =>
    values.slice((row * values.length) / rows, ((row + 1) * values.length) / rows),
  );
