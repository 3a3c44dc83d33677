/** Numbers as they are shown: what is not known of a number is not made up. */
import { expect, it } from 'vitest';
import { formatGlimpse, glimpse } from '../../engine/nested.ts';

const shown = (values: number[], shape: number[]): string => formatGlimpse(glimpse(values, shape));

it.each([
  [123456789, '123456789'],
  [-16777216, '-16777216'],
  [123456.789, '1.235e+5'],
  [9999.96, '1.000e+4'],
  [9999.4, '9999'],
  [0.0312567, '0.03126'],
  [1.5e-7, '1.5e-7'],
  [2e10, '2.000e+10'],
  [NaN, 'NaN'],
  [-Infinity, '-Infinity'],
])('%s is shown as %s', (value, text) => {
  expect(shown([value], [])).toBe(text);
});

it('a large tensor is shown by the first and last three of each dimension', () => {
  const values = Array.from({ length: 2 * 600 }, (_, i) => i);
  expect(shown(values, [2, 600])).toBe('[[0, 1, 2, ..., 597, 598, 599],\n [600, 601, 602, ..., 1197, 1198, 1199]]');
});
