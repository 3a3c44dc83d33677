/** An account of images that could not be read, or not quite as they are, over all loaders of a run. Node only. */
import { DeitError } from '../../../engine/index.ts';
import { gatherTexts } from '../../parallel/communicator.ts';
import type { Communicator } from '../../parallel/communicator.ts';
import { countClasses } from '../dataset.ts';
import type { Dataset } from '../dataset.ts';
import { someNames } from './file-names.ts';

/** Part of a data set's images that may be left out without a word from the user. */
export const mostUnreadable = 0.1;

/** How many images are named where there are many. */
const NAMED = 20;

interface Account {
  readonly classSizes: Uint32Array;
  readonly skippedOfClass: Uint32Array;
  /** By image: whether it was left out, and whether something was noted of it. */
  readonly isSkipped: Uint8Array;
  readonly isNoted: Uint8Array;
  readonly names: string[];
}

/** What was told of an image of the data set with this place among those of a run: why it was left out, or what was noted. */
type Told = readonly [dataset: number, index: number, kind: 'skip' | 'note', text: string];

export class ImageProblems {
  /** Images that were left out, by their names, and the reasons. */
  readonly skipped = new Map<string, string>();
  private readonly notes = new Map<string, { count: number; example: string }>();
  private readonly accounts = new Map<Dataset, Account>();
  /** What other ranks have not been told. */
  private untold: (readonly [Dataset, index: number, kind: 'skip' | 'note', text: string])[] = [];

  /** More than the part `most` of the images of a data set left out is an error. */
  constructor(private readonly most = mostUnreadable) {}

  /** Leaves an image out. Throws `bad-data` if too many are, or no image of a class is left. */
  skip(dataset: Dataset, index: number, reason: string): void {
    const account = this.accountOf(dataset);
    if (account.isSkipped[index]) return;
    account.isSkipped[index] = 1;
    this.untold.push([dataset, index, 'skip', reason]);
    const name = imageName(dataset, index);
    this.skipped.set(name, reason);
    account.names.push(name);
    const label = dataset.label(index);
    if (++account.skippedOfClass[label] === account.classSizes[label]) throw emptyClass(dataset, label, reason);
    const { length } = account.names;
    if (length <= this.most * dataset.length) return;
    throw new DeitError('bad-data', 'Too many images cannot be read.', {
      where: dataset.name,
      expected: `at most ${this.most} of the ${dataset.length} images (${dataset.split})`,
      found: `${length} so far: ${someNames(account.names)}; the last: ${reason.split('\n')[0]}`,
      fix: 'Mend or remove the files, or allow more with data.maxUnreadable.',
    });
  }

  /** Notes how an image was read. */
  note(dataset: Dataset, index: number, note: string): void {
    const { isNoted } = this.accountOf(dataset);
    if (isNoted[index]) return;
    isNoted[index] = 1;
    this.untold.push([dataset, index, 'note', note]);
    const found = this.notes.get(note);
    if (found) found.count++;
    else this.notes.set(note, { count: 1, example: imageName(dataset, index) });
  }

  /** Whether other ranks are to be told of something. */
  get hasNews(): boolean {
    return this.untold.length > 0;
  }

  /**
   * Brings the accounts of all ranks together: each has met the images of its own slices. `datasets` are those of the run, in
   * the same order on all. Throws as `skip` does, on all ranks alike.
   */
  async share(ranks: Communicator, datasets: readonly Dataset[]): Promise<void> {
    const own: Told[] = this.untold.map(([dataset, ...rest]) => [datasets.indexOf(dataset), ...rest]);
    this.untold = [];
    const all = (await gatherTexts(ranks, JSON.stringify(own))).flatMap((text) => JSON.parse(text) as Told[]);
    for (const [dataset, index, kind, text] of all) this[kind](datasets[dataset], index, text);
    // All have heard it.
    this.untold = [];
  }

  /** What a run's end tells of all this. */
  lines(): string[] {
    const lines = [...this.notes].map(
      ([note, { count, example }]) => `${count} images: ${note} (for example ${example})`,
    );
    const { size } = this.skipped;
    if (size === 0) return lines;
    lines.push(
      `${size === 1 ? '1 image could not be read and was' : `${size} images could not be read and were`} left out:`,
    );
    for (const [name, reason] of this.skipped) {
      if (lines.push(`  ${name}: ${reason.split('\n')[0]}`) > NAMED) break;
    }
    if (size > NAMED) lines.push(`  and ${size - NAMED} more`);
    return lines;
  }

  private accountOf(dataset: Dataset): Account {
    const known = this.accounts.get(dataset);
    if (known) return known;
    const account: Account = {
      classSizes: countClasses(dataset),
      skippedOfClass: new Uint32Array(dataset.classes.length),
      isSkipped: new Uint8Array(dataset.length),
      isNoted: new Uint8Array(dataset.length),
      names: [],
    };
    this.accounts.set(dataset, account);
    return account;
  }
}

/** What people call an image: its file, where it is one. */
export const imageName = (dataset: Dataset, index: number): string =>
  dataset.path?.(index) ?? `image ${index} of ${dataset.name}`;

/** What is wrong with a class of which no image can be read. */
export const emptyClass = (dataset: Dataset, label: number, reason: string): DeitError =>
  new DeitError('bad-data', 'No image of a class can be read, so nothing is left of it.', {
    where: `class "${dataset.classes[label]}" of ${dataset.name} (${dataset.split})`,
    found: reason,
    fix: 'Mend or remove the files of the class.',
  });
