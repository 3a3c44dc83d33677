/** Problems of attention that tests and benchmarks share. */
export interface AttentionCase {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly width: number;
  /** Scale of queries, keys and values; 1 if left out. */
  readonly scale?: number;
}

/** One token, odd counts, DeiT's (18, 66, 197, 198), widths of tiny models and of all three DeiTs. */
export const ATTENTION_CASES: readonly AttentionCase[] = [
  { batch: 1, tokens: 1, heads: 1, width: 1 },
  { batch: 2, tokens: 5, heads: 3, width: 3 },
  { batch: 1, tokens: 33, heads: 2, width: 7 },
  { batch: 2, tokens: 67, heads: 2, width: 6 },
  { batch: 2, tokens: 18, heads: 2, width: 4 },
  { batch: 1, tokens: 17, heads: 4, width: 8 },
  { batch: 1, tokens: 65, heads: 1, width: 12 },
  { batch: 2, tokens: 10, heads: 3, width: 16 },
  { batch: 1, tokens: 31, heads: 2, width: 32 },
  { batch: 2, tokens: 66, heads: 3, width: 64 },
  { batch: 1, tokens: 198, heads: 1, width: 64 },
  { batch: 1, tokens: 41, heads: 1, width: 80 },
  // Scores in the hundreds: a softmax of one winner, whose reference moves along the way.
  { batch: 1, tokens: 50, heads: 2, width: 16, scale: 8 },
];
