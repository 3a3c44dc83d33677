export interface GradNormProblem {
  /** Elements of the flat buffer, padding included; a multiple of 64. */
  readonly n: number;
}
