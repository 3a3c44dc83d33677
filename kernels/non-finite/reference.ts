/** How many elements are NaN or infinite, and the index of the first of them. */
export function nonFiniteReference(x: ArrayLike<number>): [count: number, first: number | null] {
  const places = Array.from(x, (value, i) => (Number.isFinite(value) ? -1 : i)).filter((i) => i >= 0);
  return [places.length, places[0] ?? null];
}
