/** The norm of the finite elements in float64, and how many elements are not finite. */
export function gradNormReference(gradients: ArrayLike<number>): [norm: number, nonFinite: number] {
  const finite = Array.from(gradients).filter(Number.isFinite);
  return [Math.sqrt(finite.reduce((sum, g) => sum + g * g, 0)), gradients.length - finite.length];
}
