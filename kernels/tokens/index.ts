/**
 * The token sequence of a vision transformer (Dosovitskiy et al. 2021, eq. 1; Touvron et al. 2021, §4):
 *
 *     y[b, t, :] = pos[t, :] + (cls if t = 0, dist if t = 1 and there is one, else patches[b, t - prefix, :])
 *
 * patches [B, n, D], cls and dist [D], pos [N, D], y [B, N, D] with N = n + prefix, prefix 1 or 2. Nothing is saved. The
 * gradient of the patches is a part of dy; those of pos, cls and dist are sums over the batch (cls and dist have the
 * sums of rows 0 and 1). All gradients are written, in batch order.
 *
 * Cost: one addition per element; memory traffic decides. `deit kernel assemble_tokens` shows the kernels.
 */
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { assemblePlain, embeddingGradientPlain, patchGradientPlain, tokensBytes } from './plain.ts';
import { checked } from './problem.ts';
import type { TokensEmbeddingProblem, TokensProblem } from './problem.ts';
import { assembleByRow, embeddingGradientByVector, patchGradientByRow } from './rows.ts';

export type { TokensProblem } from './problem.ts';

/** Bindings: patches, cls, dist (if there is one), pos, y. */
export const assembleTokens = kernelOf<TokensProblem>('tokens.assemble', checked, [
  { name: 'rows', fits: () => true, launches: assembleByRow },
  plain(tokensBytes, assemblePlain),
]);

/** Bindings: dy, dpatches. */
export const tokensPatchGradient = kernelOf<TokensProblem>('tokens.patch_gradient', checked, [
  { name: 'rows', fits: () => true, launches: patchGradientByRow },
  plain(tokensBytes, patchGradientPlain),
]);

/** Bindings: dy and those of dpos, dcls, ddist that are wanted. */
export const tokensEmbeddingGradient = kernelOf<TokensEmbeddingProblem>('tokens.embedding_gradient', checked, [
  { name: 'vectors', fits: () => true, launches: embeddingGradientByVector },
  plain(tokensBytes, embeddingGradientPlain),
]);
