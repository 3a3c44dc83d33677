/** A source of labelled images as it is found: its classes, and the parts that it has of its own. */
import type { DeitError } from '../../../engine/index.ts';
import type { Dataset, Split } from '../dataset.ts';

export interface SourcePart {
  /** What people call it, such as `train/`; empty for all of a source. */
  readonly label: string;
  readonly dataset: Dataset;
  /** Why its images cannot be used; null if they can. To be thrown by whoever uses the part. */
  readonly problem: DeitError | null;
}

export interface ImageSource {
  readonly kind: 'sample' | 'cifar' | 'folder' | 'list' | 'shards' | 'parquet';
  /** Where it is. */
  readonly name: string;
  readonly classes: readonly string[];
  /** `all` alone where the source is not divided. */
  readonly parts: ReadonlyMap<Split | 'all', SourcePart>;
  /** How it was understood, a line each. */
  readonly notes: readonly string[];
  /** What it leaves out, with numbers and examples; empty if nothing. */
  readonly leftOut: string;
}
