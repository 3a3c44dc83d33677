import type { AttentionProblem } from './problem.ts';

/** Attention and the gradient of qkv for the gradient dy of y, in float64, by the definition. */
export function attentionReference(problem: AttentionProblem, qkv: ArrayLike<number>, dy: ArrayLike<number>) {
  const { batch, tokens, heads, width } = problem;
  const scale = 1 / Math.sqrt(width);
  const y = new Float64Array(batch * tokens * heads * width);
  const probabilities = new Float64Array(batch * heads * tokens * tokens);
  const dqkv = new Float64Array(qkv.length);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const at = (part: number, n: number, e: number): number =>
        (b * tokens + n) * 3 * heads * width + part * heads * width + h * width + e;
      const out = (n: number, e: number): number => ((b * tokens + n) * heads + h) * width + e;
      for (let i = 0; i < tokens; i++) {
        const row = probabilities.subarray((b * heads + h) * tokens * tokens + i * tokens).subarray(0, tokens);
        for (let j = 0; j < tokens; j++) {
          for (let e = 0; e < width; e++) row[j] += qkv[at(0, i, e)] * qkv[at(1, j, e)] * scale;
        }
        const most = row.reduce((x, z) => Math.max(x, z), -Infinity);
        row.forEach((s, j) => (row[j] = Math.exp(s - most)));
        const sum = row.reduce((x, z) => x + z, 0);
        row.forEach((w, j) => (row[j] = w / sum));
        for (let j = 0; j < tokens; j++) {
          for (let e = 0; e < width; e++) y[out(i, e)] += row[j] * qkv[at(2, j, e)];
        }
        const dp = new Float64Array(tokens);
        for (let j = 0; j < tokens; j++) {
          for (let e = 0; e < width; e++) {
            dp[j] += dy[out(i, e)] * qkv[at(2, j, e)];
            dqkv[at(2, j, e)] += row[j] * dy[out(i, e)];
          }
        }
        const mean = dp.reduce((x, z, j) => x + z * row[j], 0);
        for (let j = 0; j < tokens; j++) {
          const ds = row[j] * (dp[j] - mean) * scale;
          for (let e = 0; e < width; e++) {
            dqkv[at(0, i, e)] += ds * qkv[at(1, j, e)];
            dqkv[at(1, j, e)] += ds * qkv[at(0, i, e)];
          }
        }
      }
    }
  }
  return { y, probabilities, dqkv };
}
