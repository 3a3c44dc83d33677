import type { Engine } from '../../engine/index.ts';
import { ForwardPass } from '../forward-pass.ts';
import type { Classifier } from '../models/classifier.ts';
import { oneProcess } from '../parallel/communicator.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { imageName, imagesOf } from './batches.ts';
import type { BatchSource } from './batches.ts';
import { Tally } from './tally.ts';
import type { Accuracy } from './tally.ts';

/** Batches whose logits may be outstanding. */
const IN_FLIGHT = 2;

/** Measures a model on a validation set. With several ranks, `source` gives each a share of its batches. */
export class Evaluator {
  private readonly pass: ForwardPass;

  constructor(
    engine: Engine,
    private readonly model: Classifier,
    private readonly source: BatchSource,
    imageSize: number,
    private readonly ranks: Communicator = oneProcess,
  ) {
    this.pass = new ForwardPass(engine, model, source.batchSize, imageSize);
  }

  /** Evaluates in evaluation mode. Throws `non-finite` if a logit is NaN or infinite. */
  async run(): Promise<Accuracy> {
    return (await this.tally()).accuracyOver(this.ranks);
  }

  /** The same in full, of this rank's batches. `labelOf` says which of the model's classes a label of the data stands for. */
  async tally(labelOf: (label: number) => number = (label) => label): Promise<Tally> {
    const { model, source } = this;
    const tally = new Tally(model.classes, model.distilled);
    const pending: Promise<void>[] = [];
    for await (const batch of source.epoch(0)) {
      const labels = Array.from(batch.labels, labelOf);
      const logits = this.pass.run(imagesOf(batch), (row) => imageName(source, batch, row));
      const added = logits.then(({ cls, dist }) => {
        tally.add(cls, dist, labels);
        batch.release?.();
      });
      // An error is thrown where the promise is awaited, in order.
      added.catch(() => undefined);
      pending.push(added);
      while (pending.length > IN_FLIGHT) await pending.shift();
    }
    await Promise.all(pending);
    return tally;
  }

  release(): void {
    this.pass.release();
  }
}
