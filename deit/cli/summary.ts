import { summarizeModel } from '../models/registry.ts';
import type { GlobalOptions } from './session.ts';

const count = (n: number): string => n.toLocaleString('en-US');

/** `deit summary`: layers with output shapes, parameters and multiply-adds, in torchinfo's layout. Needs no GPU. */
export function summary(spec: string, options: GlobalOptions): void {
  const { layers, tensors, parameters, multiplyAdds } = summarizeModel(spec);
  const rows = layers.map(({ path, type, depth, outputShape, parameters: own, multiplyAdds: cost }) => {
    const name = path.split('.').at(-1);
    const tree = depth === 0 ? '' : `${'│    '.repeat(depth - 1)}├─`;
    return [`${tree}${type}${name ? ` (${name})` : ''}`, `[1, ${outputShape.join(', ')}]`, count(own), count(cost)];
  });
  const titles = ['Layer (type)', 'Output Shape', 'Param #', 'Mult-Adds'];
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const format = (row: string[]): string =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  const rule = '='.repeat(widths.reduce((sum, width) => sum + width, 2 * (widths.length - 1)));
  const floats = tensors.filter(({ kind }) => kind !== 'counter');
  const bytes = floats.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
  const lines = [
    rule,
    format(titles),
    rule,
    ...rows.map(format),
    rule,
    `Total params: ${count(parameters)}`,
    `Total mult-adds: ${count(multiplyAdds)} (one image; attention products included)`,
    `Weights in f32: ${(bytes / 2 ** 20).toFixed(2)} MiB in ${tensors.length} tensors`,
    rule,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  if (options.json) {
    const shapes = tensors.map(({ name, shape }) => ({ name, shape }));
    process.stdout.write(`${JSON.stringify({ model: spec, parameters, multiplyAdds, tensors: shapes })}\n`);
  }
}
