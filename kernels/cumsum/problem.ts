export interface CumsumProblem {
  outer: number;
  length: number;
  inner: number;
  reversed: boolean;
}
