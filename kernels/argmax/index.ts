/**
 * y[o, i] = the first r at which x[o, r, i] is largest, as i32, for x [outer, reduce, inner] in f32. NaN counts as
 * larger than everything, as in PyTorch. Nothing is kept, and there is no gradient. Cost: a comparison per element; each is read
 * once. Long rows of neighbouring elements take a workgroup each on a GPU; otherwise one invocation finds one result.
 * `deit kernel argmax` shows the kernels.
 */
import { plain } from '../lib/plain.ts';
import { kernelOf } from '../lib/variant.ts';
import { argmaxPlain } from './plain.ts';
import { checked } from './problem.ts';
import type { ArgmaxProblem } from './problem.ts';
import { argmaxSerial, argmaxWorkgroup, fitsWorkgroup } from './searches.ts';

export type { ArgmaxProblem } from './problem.ts';

/** Bindings x, y. */
export const argmax = kernelOf<ArgmaxProblem>('argmax', checked, [
  {
    name: 'workgroup',
    fits: fitsWorkgroup,
    use: (_problem, device) => (device.cpu ? 'named' : 'default'),
    launches: argmaxWorkgroup,
  },
  { name: 'serial', fits: () => true, launches: argmaxSerial },
  plain(({ outer, reduce, inner }) => 4 * outer * reduce * inner, argmaxPlain),
]);
