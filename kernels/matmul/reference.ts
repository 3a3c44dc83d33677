/** Shapes of the operands, the last two dimensions of which are matrices, perhaps stored transposed. */
interface Shapes {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

/**
 * a b in float64, batches broadcast. Also its shape, and sum |a||b| for error bounds. Gradients are products too:
 * da = dy b^T, db = a^T dy.
 */
export function matmulReference(problem: Shapes, a: ArrayLike<number>, b: ArrayLike<number>) {
  const [ar, ac] = problem.a.slice(-2);
  const [br, bc] = problem.b.slice(-2);
  const [m, k, n] = [problem.transposeA ? ac : ar, problem.transposeA ? ar : ac, problem.transposeB ? br : bc];
  const rank = Math.max(problem.a.length, problem.b.length) - 2;
  const sizeOf = (shape: readonly number[], axis: number): number => shape[shape.length - 2 - rank + axis] ?? 1;
  const batch = Array.from({ length: rank }, (_, i) => Math.max(sizeOf(problem.a, i), sizeOf(problem.b, i)));
  const batches = batch.reduce((x, y) => x * y, 1);
  const values = new Float64Array(batches * m * n);
  const magnitudes = new Float64Array(batches * m * n);
  for (let z = 0; z < batches; z++) {
    const at = (shape: readonly number[]): number => {
      let [index, step, rest] = [0, 1, z];
      for (let axis = rank - 1; axis >= 0; axis--) {
        const own = sizeOf(shape, axis);
        if (own > 1) index += (rest % batch[axis]) * step;
        step *= own;
        rest = Math.floor(rest / batch[axis]);
      }
      return index;
    };
    const [a0, b0] = [at(problem.a) * m * k, at(problem.b) * n * k];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let [sum, magnitude] = [0, 0];
        for (let l = 0; l < k; l++) {
          const product =
            a[a0 + (problem.transposeA ? l * m + i : i * k + l)] * b[b0 + (problem.transposeB ? j * k + l : l * n + j)];
          sum += product;
          magnitude += Math.abs(product);
        }
        values[(z * m + i) * n + j] = sum;
        magnitudes[(z * m + i) * n + j] = magnitude;
      }
    }
  }
  return { values, magnitudes, shape: [...batch, m, n], k };
}
