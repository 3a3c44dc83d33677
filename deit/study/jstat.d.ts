/** What we use of a package that comes without types. */
declare module 'jstat' {
  interface Statistics {
    mean(values: readonly number[]): number;
    /** Of a sample (divided by n - 1) where `isSample` is set. */
    stdev(values: readonly number[], isSample?: boolean): number;
    /** Linear interpolation between the nearest values, with k in [0, 1]. */
    percentile(values: readonly number[], k: number): number;
    studentt: { inv(probability: number, degreesOfFreedom: number): number };
  }
  const module: { jStat: Statistics };
  export default module;
}
