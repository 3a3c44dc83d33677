/** Images by channel that tests and benchmarks of batch norm, pooling and gates share. */
export interface ChannelCase {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset?: number;
  readonly scale?: number;
}

export const CHANNEL_CASES: readonly ChannelCase[] = [
  { name: 'two values a channel', shape: [2, 1, 1, 1] },
  { name: 'features', shape: [5, 12] },
  { name: 'features, odd', shape: [7, 5] },
  { name: 'single pixels', shape: [9, 8, 1, 1] },
  { name: 'whole vectors of pixels', shape: [3, 5, 4, 6] },
  { name: 'one image', shape: [1, 3, 8, 8] },
  { name: 'odd planes', shape: [2, 6, 7, 7] },
  { name: 'two pixels', shape: [6, 3, 1, 2] },
  { name: 'many chunks', shape: [40, 4, 8, 8] },
  { name: 'many chunks of single pixels', shape: [500, 8, 1, 1] },
  { name: 'large planes', shape: [2, 2, 60, 70] },
  { name: 'far from zero', shape: [4, 3, 8, 8], offset: 300 },
  { name: 'large values', shape: [3, 2, 5, 5], scale: 1e6 },
  { name: 'small values', shape: [3, 2, 5, 5], scale: 1e-3 },
];

/** Those whose images, or runs of 64 planes, fit the bindings of a device; others are beyond what is split. */
export const casesFor = (maxBindingSize = Infinity): readonly ChannelCase[] =>
  CHANNEL_CASES.filter(({ shape }) => 64 * 4 * shape.slice(2).reduce((a, b) => a * b, 1) <= maxBindingSize);
