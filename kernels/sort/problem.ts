export interface SortProblem {
  outer: number;
  length: number;
  inner: number;
  descending: boolean;
}
