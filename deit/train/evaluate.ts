import { add, countCorrect, mul } from '../../engine/index.ts';
import type { Engine, Recording, Tensor } from '../../engine/index.ts';
import type { Classifier } from '../models/classifier.ts';
import type { BatchSource } from './batches.ts';

/** Share of images that are classified rightly, by each head and by the average of both heads' logits. */
export interface Accuracy {
  readonly class: number;
  /** Null without a distillation head. */
  readonly distillation: number | null;
  readonly average: number;
  readonly images: number;
}

function filled(data: Float32Array | Int32Array, size: number, filling: number): Float32Array | Int32Array {
  if (data.length === size) return data;
  const whole = data instanceof Float32Array ? new Float32Array(size) : new Int32Array(size);
  whole.fill(filling, data.length).set(data);
  return whole;
}

/** Counts right answers over a validation set, with one recorded forward pass. */
export class Evaluator {
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly counts: Tensor;
  private recording: Recording | null = null;

  constructor(
    private readonly engine: Engine,
    private readonly model: Classifier,
    private readonly source: BatchSource,
    imageSize: number,
  ) {
    this.images = engine.empty([source.batchSize, 3, imageSize, imageSize]).keep('input');
    this.labels = engine.empty([source.batchSize], 'i32').keep('input');
    this.counts = engine.zeros([3]).keep('metrics');
  }

  /** Evaluates in evaluation mode and restores the model's mode afterwards. */
  async run(): Promise<Accuracy> {
    const { engine, model } = this;
    const { training } = model;
    model.eval();
    this.counts.write([0, 0, 0]);
    let images = 0;
    for await (const batch of this.source.epoch(0)) {
      const { size } = this.images;
      // The last batch is filled up with zeros of class -1, which no answer equals.
      this.images.write(batch.size === this.source.batchSize ? batch.images : filled(batch.images, size, 0));
      this.labels.write(filled(batch.labels, this.source.batchSize, -1));
      images += batch.size;
      if (this.recording) engine.replay(this.recording);
      else this.recording = engine.record(() => engine.noGrad(() => this.record()));
    }
    model.train(training);
    const [cls, dist, average] = await this.counts.read();
    return {
      class: cls / images,
      distillation: model.distilled ? dist / images : null,
      average: average / images,
      images,
    };
  }

  release(): void {
    this.recording?.release();
    for (const tensor of [this.images, this.labels, this.counts]) this.engine.free(tensor);
  }

  private record(): void {
    const { cls, dist } = this.model.heads(this.images);
    const right = [cls, dist ?? cls, dist ? mul(add(cls, dist), 0.5) : cls];
    right.forEach((logits, i) => {
      const total = this.engine.empty([1]);
      this.engine.copy(this.counts.slot(i, 1), total);
      this.engine.accumulate(total, countCorrect(logits, this.labels));
      this.engine.copy(total, this.counts.slot(i, 1));
    });
  }
}
