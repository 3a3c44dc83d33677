import type { Allocation } from '../lib/kernel.ts';
import { roundingOfSums } from '../lib/variant.ts';
import type { Tuning } from '../lib/variant.ts';
import { convOutput } from './problem.ts';
import type { ConvProblem, ConvTensor } from './problem.ts';

/** A convolution; in the forward pass, perhaps with a bias and a shortcut. */
type Problem = ConvProblem & { readonly bias?: boolean; readonly shortcut?: boolean };

const taps = ({ kernelHeight, kernelWidth }: Problem): number => kernelHeight * kernelWidth;
const outputs = (problem: Problem): number => convOutput(problem).reduce((height, width) => height * width);

/** For a pass whose bindings hold these tensors, the last one its result, which sums `terms` products an element. */
function convTuning(
  pass: string,
  bound: Readonly<Record<string, ConvTensor>>,
  terms: (problem: Problem) => number,
): Tuning<Problem> {
  const entries = Object.entries(bound);
  const [result, written] = entries[entries.length - 1];
  return {
    flops: (p) => (2 * p.batch * p.filters * outputs(p) * p.channels * taps(p)) / p.groups,
    describe(p) {
      const image = [p.batch, p.channels, p.height, p.width].join('x');
      const weight = [p.filters, p.channels / p.groups, p.kernelHeight, p.kernelWidth].join('x');
      return `conv2d (${pass}) ${image} by ${weight}, stride ${p.stride}, padding ${p.padding}, groups ${p.groups}`;
    },
    tensors(p) {
      const elements = {
        x: p.batch * p.channels * p.height * p.width,
        weight: (p.filters * p.channels * taps(p)) / p.groups,
        y: p.batch * p.filters * outputs(p),
      };
      const of = (name: ConvTensor): Allocation => ({
        elements: elements[name],
        dtype: p.f16?.includes(name) ? 'f16' : 'f32',
      });
      return {
        ...Object.fromEntries(Object.entries(bound).map(([binding, name]) => [binding, of(name)])),
        ...(p.bias && { bias: { elements: p.filters } }),
        ...(p.shortcut && { shortcut: { elements: elements.y } }),
      };
    },
    results: [result],
    // Where f16 is stored, one of two neighbours.
    tolerance: (p) => roundingOfSums(terms(p)) + (p.f16?.includes(written) ? 2 ** -11 : 0),
  };
}

export const forwardTuning = convTuning(
  'forward',
  { x: 'x', weight: 'weight', y: 'y' },
  (p) => (p.channels / p.groups) * taps(p),
);
export const inputGradientTuning = convTuning(
  'inputGradient',
  { dy: 'y', weight: 'weight', dx: 'x' },
  (p) => (p.filters / p.groups) * taps(p),
);
export const weightGradientTuning = convTuning(
  'weightGradient',
  { x: 'x', dy: 'y', dw: 'weight' },
  (p) => p.batch * outputs(p),
);
