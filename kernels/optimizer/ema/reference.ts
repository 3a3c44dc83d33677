/** decay * average + (1 - decay) * values in float64. */
export const emaReference = (decay: number, average: ArrayLike<number>, values: ArrayLike<number>): Float64Array =>
  Float64Array.from(average, (a, i) => decay * a + (1 - decay) * values[i]);
