/** a where the condition is not 0 (NaN is not), else b, all of one shape; and the gradients of both for the gradient dy. */
export function whereReference(
  condition: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  dy: ArrayLike<number>,
) {
  const holds = Array.from(condition, (value) => value !== 0);
  return {
    y: holds.map((isTrue, i) => (isTrue ? a[i] : b[i])),
    da: holds.map((isTrue, i) => (isTrue ? dy[i] : 0)),
    db: holds.map((isTrue, i) => (isTrue ? 0 : dy[i])),
  };
}
