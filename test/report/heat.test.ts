import { expect, it } from 'vitest';
import { heatColor, overlay } from '../../deit/report/heat.ts';

it('a map of more patches than a call takes arguments is drawn, from its smallest value to its largest', () => {
  const side = 400;
  const map = Float32Array.from({ length: side * side }, (_, i) => (i % side < side / 2 ? -2 : 3));
  const width = 16;
  const { data } = overlay({ width, height: 1, data: new Uint8Array(3 * width) }, map, side);
  // Over black: the darkest colour at 0.35 on the left, the lightest at 0.75 on the right, far from the border between.
  const share = (value: number, part: number): number[] =>
    heatColor(value).map((channel) => Math.round(channel * part));
  expect([...data.subarray(0, 3)]).toEqual(share(0, 0.35));
  expect([...data.subarray(3 * (width - 1))]).toEqual(share(1, 0.75));
});
