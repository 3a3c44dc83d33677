import { eachRow } from '../lib/reference-math.ts';

/** How many rows have their label among the k largest logits; of equal logits the first counts as the larger. */
export function countCorrectReference(
  { rows, width, k }: { rows: number; width: number; k: number },
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
): number {
  let count = 0;
  eachRow({ outer: rows, width, inner: 1 }, (row, r) => {
    const order = row.map((_, c) => c).sort((a, b) => logits[row[b]] - logits[row[a]] || a - b);
    if (order.slice(0, k).includes(labels[r])) count++;
  });
  return count;
}
