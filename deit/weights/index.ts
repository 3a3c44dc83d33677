/** Published weights: names of other libraries, position embeddings at another resolution, new heads. */
export { loadWeights } from './load.ts';
export type { LoadedWeights, WeightOptions } from './load.ts';
export { positionTaps, resizePositionEmbedding } from './position-embedding.ts';
export type { GridSize, PositionResize, PositionRule } from './position-embedding.ts';
