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

/** A share with its Wilson score interval at 95 % (E. B. Wilson 1927): also for few images and shares near 0 or 1. */
export interface Share {
  readonly share: number;
  readonly low: number;
  readonly high: number;
}

/** Null where there is nothing to have a share of. */
export function wilson(hits: number, of: number): Share | null {
  if (of === 0) return null;
  const z = 1.959964;
  const share = hits / of;
  const spread = z * Math.sqrt((share * (1 - share)) / of + (z / (2 * of)) ** 2);
  const [centre, scale] = [share + z ** 2 / (2 * of), 1 + z ** 2 / of];
  return { share, low: Math.max(0, (centre - spread) / scale), high: Math.min(1, (centre + spread) / scale) };
}

export interface ClassScores {
  readonly images: number;
  /** Of the images of the class, how many are given it. */
  readonly recall: Share | null;
  /** Of the images that are given the class, how many are of it. */
  readonly precision: Share | null;
}

/** From a table of true classes (rows) by answers (columns). */
export const classScores = (table: readonly (readonly number[])[]): ClassScores[] =>
  table.map((row, c) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    const given = table.reduce((sum, other) => sum + other[c], 0);
    return { images, recall: wilson(row[c], images), precision: wilson(row[c], given) };
  });
