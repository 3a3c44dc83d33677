/** What tests want of `deit train` on several ranks, and hear of it: between them and test/ranks/train.ts. */

/** Written to standard error when a fault strikes a step. */
export const STRUCK = 'the test strikes';

/** What goes wrong, or is otherwise, on one rank. */
export interface Fault {
  /** The names are those of test/ranks/train.ts. */
  readonly kind: string;
  readonly rank: number;
  /** A step of the student, counted from 1; when the run is prepared; or every time that held-out images are measured. */
  readonly at: number | 'start' | 'evaluation';
}

/** One run of `deit`. */
export interface Order {
  readonly args: readonly string[];
  readonly fault?: Fault;
  /** More arguments, of one rank. */
  readonly own?: Readonly<Record<number, readonly string[]>>;
}

/** What one rank said, and its exit code. */
export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
