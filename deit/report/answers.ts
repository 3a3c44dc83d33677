/** What several predictors say about the same images: confusion, disagreement, accuracy. Pure. */

/** Class numbers that each predictor gives, image by image; the first one is the truth. */
export interface Answers {
  readonly names: readonly string[];
  readonly classes: number;
  readonly given: readonly (readonly number[])[];
}

/** Share of the images on which each pair of predictors differs, symmetric (DeiT paper, Table 4). */
export function disagreement({ given }: Answers): number[][] {
  return given.map((a) =>
    given.map((b) => a.reduce((sum, answer, i) => sum + Number(answer !== b[i]), 0) / Math.max(1, a.length)),
  );
}

/** Rows are true classes, columns answers, entries numbers of images. */
export function confusion({ given, classes }: Answers, predictor: number): number[][] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  given[predictor].forEach((answer, i) => counts[given[0][i]][answer]++);
  return counts;
}

export interface Mistaken {
  readonly truth: number;
  readonly answer: number;
  readonly images: number;
}

/** The pairs of classes that are taken for each other most often, in that order. */
export function topConfusions({ given }: Answers, predictor: number, most = 12): Mistaken[] {
  const counts = new Map<string, number>();
  given[predictor].forEach((answer, i) => {
    const truth = given[0][i];
    if (truth !== answer) counts.set(`${truth},${answer}`, (counts.get(`${truth},${answer}`) ?? 0) + 1);
  });
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([pair, images]) => {
      const [truth, answer] = pair.split(',').map(Number);
      return { truth, answer, images };
    });
}

/** Cosine of the angle between rows of `width` numbers, a and b. */
export function cosine(values: ArrayLike<number>, a: number, b: number, width: number): number {
  let [product, na, nb] = [0, 0, 0];
  for (let i = 0; i < width; i++) {
    const [x, y] = [values[a * width + i], values[b * width + i]];
    product += x * y;
    na += x * x;
    nb += y * y;
  }
  return product / Math.sqrt(na * nb);
}
