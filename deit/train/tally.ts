import { argmaxRows, averageLogits } from '../logits.ts';
import type { Communicator } from '../parallel/communicator.ts';

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

/** How one set of logits did: shares of images, and the mean cross-entropy in nats. */
export interface HeadScores {
  readonly top1: number;
  readonly top5: number;
  readonly loss: number;
}

/** How one class did, by the average of the heads. */
export interface ClassScores {
  /** Images of this class. */
  readonly images: number;
  /** Share of them that were recognised; null where there are none. */
  readonly recall: number | null;
  /** Share of right ones among the images that were taken for this class; null where there are none. */
  readonly precision: number | null;
}

/** Images of one class that were taken for another. */
export interface Mistake {
  readonly truth: number;
  readonly answer: number;
  readonly images: number;
}

class Sums {
  top1 = 0;
  top5 = 0;
  loss = 0;

  add(logits: Float32Array, label: number): void {
    const own = logits[label];
    // A tie counts for the class that comes first.
    const rank = logits.reduce((better, z, c) => better + (z < own || (z === own && c >= label) ? 0 : 1), 0);
    if (rank === 0) this.top1++;
    if (rank < 5) this.top5++;
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    this.loss += Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) + most - own;
  }

  get figures(): number[] {
    return [this.top1, this.top5, this.loss];
  }

  set figures([top1, top5, loss]: number[]) {
    [this.top1, this.top5, this.loss] = [top1, top5, loss];
  }

  scores(images: number): HeadScores {
    return { top1: this.top1 / images, top5: this.top5 / images, loss: this.loss / images };
  }
}

/** Adds up, image by image, what the logits of each head say. Averages of both heads are those of their logits. */
export class Tally {
  images = 0;
  /** Images of each class, those taken for it, and those rightly. */
  private readonly own: Uint32Array;
  private readonly taken: Uint32Array;
  private readonly right: Uint32Array;
  /** Mistaken images by `truth * classes + answer`: of 10,000 classes few pairs occur. */
  private readonly mistaken = new Map<number, number>();
  private readonly cls = new Sums();
  private readonly dist = new Sums();
  private readonly average = new Sums();

  constructor(
    readonly classes: number,
    private readonly distilled: boolean,
  ) {
    [this.own, this.taken, this.right] = [0, 1, 2].map(() => new Uint32Array(classes));
  }

  /** Takes in a batch: logits [B, classes] of each head, and as many labels as there are images. */
  add(cls: Float32Array, dist: Float32Array | null, labels: ArrayLike<number>): void {
    for (let row = 0; row < labels.length; row++) {
      const [label, begin, end] = [labels[row], row * this.classes, (row + 1) * this.classes];
      const own = cls.subarray(begin, end);
      const other = dist ? dist.subarray(begin, end) : null;
      const average = averageLogits({ cls: own, dist: other });
      this.cls.add(own, label);
      if (other) this.dist.add(other, label);
      this.average.add(average, label);
      const [found] = argmaxRows(average, this.classes);
      this.own[label]++;
      this.taken[found]++;
      if (found === label) this.right[label]++;
      else this.count(label * this.classes + found);
      this.images++;
    }
  }

  accuracy(): Accuracy {
    const { class: cls, distillation, average } = this.heads();
    return {
      class: cls.top1,
      distillation: distillation?.top1 ?? null,
      average: average.top1,
      top5: average.top5,
      loss: average.loss,
      images: this.images,
    };
  }

  /** The same over the images that all ranks have taken in. */
  async accuracyOver(ranks: Communicator): Promise<Accuracy> {
    const parts = [this.cls, this.dist, this.average];
    const sums = Float64Array.of(this.images, ...parts.flatMap(({ figures }) => figures));
    await ranks.sum(sums);
    const whole = new Tally(0, this.distilled);
    whole.images = sums[0];
    [whole.cls, whole.dist, whole.average].forEach((part, i) => {
      part.figures = [...sums.subarray(1 + 3 * i, 4 + 3 * i)];
    });
    return whole.accuracy();
  }

  heads(): { class: HeadScores; distillation: HeadScores | null; average: HeadScores } {
    const { images } = this;
    return {
      class: this.cls.scores(images),
      distillation: this.distilled ? this.dist.scores(images) : null,
      average: this.average.scores(images),
    };
  }

  perClass(): ClassScores[] {
    const share = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);
    return Array.from(this.own, (images, c) => ({
      images,
      recall: share(this.right[c], images),
      precision: share(this.right[c], this.taken[c]),
    }));
  }

  /** Which classes were taken for which others, the most frequent first, equals in the order of the classes. */
  mistakes(): Mistake[] {
    const { classes } = this;
    return [...this.mistaken]
      .sort(([a, imagesA], [b, imagesB]) => imagesB - imagesA || a - b)
      .map(([pair, images]) => ({ truth: Math.floor(pair / classes), answer: pair % classes, images }));
  }

  /** Images by true class (rows) and class of the largest averaged logit (columns). A table of classes x classes numbers. */
  confusion(): number[][] {
    const rows = Array.from(this.right, (right, c) => {
      const row = new Array<number>(this.classes).fill(0);
      row[c] = right;
      return row;
    });
    for (const { truth, answer, images } of this.mistakes()) rows[truth][answer] = images;
    return rows;
  }

  private count(pair: number): void {
    this.mistaken.set(pair, (this.mistaken.get(pair) ?? 0) + 1);
  }
}
