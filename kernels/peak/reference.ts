/** What each lane of `arithmeticPeak` stores after so many rounds: the sum of eight chains x <- x / 2 + 1 from 0, 1, ..., 7. */
export function arithmeticPeakReference(rounds: number): number {
  let total = 0;
  for (let chain = 0; chain < 8; chain++) {
    let x = chain;
    for (let round = 0; round < rounds; round++) x = x * 0.5 + 1;
    total += x;
  }
  return total;
}
