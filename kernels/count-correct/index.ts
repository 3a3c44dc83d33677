/**
 * Top-k hits: correct[row] = 1 if the logit of the row's label is among the k largest (of equal ones the first counts as
 * the larger, as argmax has it), else 0. A label that is no class, or whose logit is NaN, is never a hit.
 * Summed over rows by loss/scaled-sum.ts.
 * No gradient. Cost: two comparisons per logit. `deit kernel count_correct` shows the kernels.
 */
import { plain } from '../lib/plain.ts';
import { rowVariants } from '../lib/row-plan.ts';
import { kernelOf } from '../lib/variant.ts';
import { bytesOf, shapeOf } from '../loss/logits.ts';
import { topHitsPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { TopHitsProblem } from './problem.ts';
import { topHitsOverRows } from './rows.ts';

/** Bindings: logits [rows, width], labels (i32), correct [rows]. */
export const topHits = kernelOf<TopHitsProblem>('top_hits', checked, [
  ...rowVariants<TopHitsProblem>(shapeOf, false, topHitsOverRows),
  plain(bytesOf, topHitsPlain),
]);
