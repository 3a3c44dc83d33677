import type { Engine, Recording, Tensor } from '../../engine/index.ts';
import type { Classifier } from '../models/classifier.ts';
import type { BatchSource } from './batches.ts';
import { Tally } from './tally.ts';

/** Share of images that are classified rightly, by each head and by the average of both heads' logits. */
export interface Accuracy {
  readonly class: number;
  /** Null without a distillation head. */
  readonly distillation: number | null;
  readonly average: number;
  /** Share of images whose class is among the five likeliest, and mean cross-entropy in nats, by the average. */
  readonly top5: number;
  readonly loss: number;
  readonly images: number;
}

/** Batches whose logits may be outstanding. */
const IN_FLIGHT = 2;

/** Measures a model on a validation set, with one recorded forward pass. */
export class Evaluator {
  private readonly images: Tensor;
  private readonly cls: Tensor;
  private readonly dist: Tensor | null;
  private recording: Recording | null = null;

  constructor(
    private readonly engine: Engine,
    private readonly model: Classifier,
    private readonly source: BatchSource,
    imageSize: number,
  ) {
    const { batchSize } = source;
    this.images = engine.empty([batchSize, 3, imageSize, imageSize]).keep('input');
    this.cls = engine.empty([batchSize, model.classes]).keep('metrics');
    this.dist = model.distilled ? engine.empty([batchSize, model.classes]).keep('metrics') : null;
  }

  /** Evaluates in evaluation mode and restores the model's mode afterwards. */
  async run(): Promise<Accuracy> {
    return (await this.tally()).accuracy();
  }

  /** The same in full. `labelOf` says which of the model's classes a label of the data stands for. */
  async tally(labelOf: (label: number) => number = (label) => label): Promise<Tally> {
    const { engine, model, cls, dist } = this;
    const { training } = model;
    const tally = new Tally(model.classes, model.distilled);
    const pending: Promise<void>[] = [];
    model.eval();
    try {
      for await (const batch of this.source.epoch(0)) {
        // The last batch is filled up with zeros.
        this.images.write(filled(batch.images, this.images.size));
        if (this.recording) engine.replay(this.recording);
        else this.recording = engine.record(() => engine.noGrad(() => this.record()));
        const reads = Promise.all([cls.read(), dist?.read()]);
        const labels = Array.from(batch.labels, labelOf);
        const added = reads.then(([own, other]) =>
          tally.add(own as Float32Array, (other as Float32Array | undefined) ?? null, labels),
        );
        // An error is thrown where the promise is awaited, in order.
        added.catch(() => undefined);
        pending.push(added);
        while (pending.length > IN_FLIGHT) await pending.shift();
      }
      await Promise.all(pending);
    } finally {
      model.train(training);
    }
    return tally;
  }

  release(): void {
    this.recording?.release();
    for (const tensor of [this.images, this.cls, this.dist]) if (tensor) this.engine.free(tensor);
  }

  private record(): void {
    const { cls, dist } = this.model.heads(this.images);
    this.engine.copy(cls, this.cls);
    if (dist && this.dist) this.engine.copy(dist, this.dist);
  }
}

function filled(data: Float32Array, size: number): Float32Array {
  if (data.length === size) return data;
  const whole = new Float32Array(size);
  whole.set(data);
  return whole;
}
