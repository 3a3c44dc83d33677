import type { Tensor } from '../engine/index.ts';

/**
 * A module on one line if it has no parts: `Linear(weight [10, 192], bias [10])`; else with its parts below it, indented, as PyTorch
 * prints modules. Parts in a row that look alike are one line with their number.
 */
export function outline(
  type: string,
  tensors: ReadonlyMap<string, Tensor>,
  parts: ReadonlyMap<string, { toString(): string }>,
): string {
  const shapes = [...tensors].map(([name, { shape }]) => `${name} [${shape.join(', ')}]`).join(', ');
  const rows: { names: string[]; text: string }[] = [];
  for (const [name, part] of parts) {
    const text = part.toString();
    const last = rows.at(-1);
    if (last?.text === text && follows(name, last.names.at(-1)!)) last.names.push(name);
    else rows.push({ names: [name], text });
  }
  const lines = rows.map(({ names, text }) => {
    const many = names.length > 1;
    const label = many ? `${names[0]} to ${names[names.length - 1]}: ${names.length} x ` : `${names[0]}: `;
    return `\n  ${label}${text.replaceAll('\n', '\n  ')}`;
  });
  return lines.length === 0 ? `${type}(${shapes})` : `${type}(${shapes}${lines.join('')}\n)`;
}

/** Whether names end in numbers, of which this is the next. */
function follows(name: string, before: string): boolean {
  const [stem, number] = before.split(/(\d+)$/);
  return number !== undefined && name === `${stem}${Number(number) + 1}`;
}
