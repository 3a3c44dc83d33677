/** A table as plain text for the terminal, as Markdown and as CSV; `table` of html.ts is the same for pages. Browser-safe. */

/** Titles of the columns, and rows of as many cells. */
export interface TextTable {
  readonly titles: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Columns in line, the first one to the left and the others to the right; one text a line. */
export function terminalTable({ titles, rows }: TextTable): string {
  const lines = [titles, ...rows];
  const widths = titles.map((_, column) => Math.max(...lines.map((row) => row[column].length)));
  const pad = (cell: string, i: number): string => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]));
  return lines.map((row) => `${row.map(pad).join('  ').trimEnd()}\n`).join('');
}

/** GitHub's Markdown; signs that mean something there are escaped. */
export function markdownTable({ titles, rows }: TextTable): string {
  const escape = (cell: string): string =>
    cell.replaceAll(/[\\|<>*_`]/g, (sign) => `\\${sign}`).replaceAll(/\s+/g, ' ');
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  const rule = titles.map((_, i) => (i === 0 ? '---' : '--:'));
  return [line(titles.map(escape)), line(rule), ...rows.map((row) => line(row.map(escape)))].join('');
}

/** RFC 4180, but with line feeds alone. */
export function csvTable({ titles, rows }: TextTable): string {
  const cell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [titles, ...rows].map((row) => `${row.map(cell).join(',')}\n`).join('');
}
