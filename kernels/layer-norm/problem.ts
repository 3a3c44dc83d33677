export interface LayerNormProblem {
  readonly rows: number;
  readonly width: number;
  readonly eps: number;
  readonly weight: boolean;
  readonly bias: boolean;
  /** y is f16 in memory. */
  readonly half?: boolean;
}

export interface LayerNormBackwardProblem {
  readonly rows: number;
  readonly width: number;
  readonly weight: boolean;
  readonly pending: boolean;
  /** dweight and dbias are written too: only where `layerNormSumsColumns`. */
  readonly columns?: boolean;
  /** dy is f16 in memory. */
  readonly half?: boolean;
  /** dx is written in f16 too. */
  readonly rounded?: boolean;
}
