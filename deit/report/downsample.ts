/** Steps of a long run, averaged as they come, so that a run of any length fits in memory. Browser-safe. */
import type { StepLine } from './run.ts';

/** Numbers that a step has; absent ones are null. */
const STEP_NUMBERS = [
  'step',
  'steps',
  'epoch',
  'lr',
  'loss',
  'lossLabel',
  'lossDistillation',
  'accuracy',
  'accuracyDistillation',
  'gradNorm',
  'nonFinite',
  'imagesPerSecond',
  'secondsLeft',
] as const satisfies readonly (keyof StepLine)[];

/** Lines of a kind that are kept, at most (an even number): more than any chart draws. */
const MOST_LINES = 8192;

/** Collects the steps of one role: all of them, or means over runs of 2, 4, 8 ... steps where there are too many. */
export class StepAverages {
  private readonly kept: StepLine[] = [];
  private waiting: StepLine[] = [];
  private run = 1;

  constructor(private readonly most = MOST_LINES) {}

  add(line: StepLine): void {
    this.waiting.push(line);
    if (this.waiting.length < this.run) return;
    this.kept.push(mean(this.waiting));
    this.waiting = [];
    if (this.kept.length < this.most) return;
    for (let i = 0; 2 * i + 1 < this.kept.length; i++) this.kept[i] = mean(this.kept.slice(2 * i, 2 * i + 2));
    this.kept.length = Math.floor(this.kept.length / 2);
    this.run *= 2;
  }

  /** The steps, in order; the last mean may be over fewer than the others. */
  get lines(): StepLine[] {
    return this.waiting.length === 0 ? this.kept : [...this.kept, mean(this.waiting)];
  }
}

/** Collects things of which a few thousand tell enough: all, or every second, fourth, eighth ..., and the last. */
export class Sampled<Item> {
  private kept: Item[] = [];
  private last: Item | null = null;
  private every = 1;
  private seen = 0;

  constructor(private readonly most = MOST_LINES) {}

  add(item: Item): void {
    if (this.seen++ % this.every === 0) {
      this.kept.push(item);
      this.last = null;
    } else this.last = item;
    if (this.kept.length <= this.most) return;
    this.kept = this.kept.filter((_, i) => i % 2 === 0);
    this.every *= 2;
  }

  get items(): Item[] {
    return this.last === null ? this.kept : [...this.kept, this.last];
  }
}

/** Means of all numbers, gaps left out. What is no number stays that of the last line. */
function mean(lines: readonly StepLine[]): StepLine {
  const last = lines[lines.length - 1];
  if (lines.length === 1) return last;
  const averages: Partial<Record<(typeof STEP_NUMBERS)[number], number | null>> = {};
  for (const name of STEP_NUMBERS) {
    let [sum, count] = [0, 0];
    for (const line of lines) {
      const value = line[name];
      if (value === null) continue;
      sum += value;
      count++;
    }
    averages[name] = count === 0 ? null : sum / count;
  }
  return { ...last, ...averages } as StepLine;
}
