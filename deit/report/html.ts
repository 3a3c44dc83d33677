/** HTML by strings: everything that comes from data goes through `escape`. */

export const escape = (text: string): string => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** A cell: text, which is escaped, or HTML that is ready, and whether it is a number. */
export type Cell = string | number | { readonly html: string };

const cellHtml = (cell: Cell): string =>
  typeof cell === 'object' ? cell.html : escape(typeof cell === 'number' ? formatNumber(cell) : cell);

/** Four significant digits, thousands grouped. */
export const formatNumber = (value: number): string =>
  Number.isInteger(value) || Math.abs(value) >= 1e4
    ? Math.round(value).toLocaleString('en-US')
    : String(Number(value.toPrecision(4)));

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export function table(titles: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const isNumber = titles.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^[\d–.,-]+( \S+)?$/.test(plain(row[i]))),
  );
  const cell = (tag: 'th' | 'td', html: string, i: number): string =>
    `<${tag}${isNumber[i] ? ' class="n"' : ' class="wrap"'}>${html}</${tag}>`;
  const head = `<thead><tr>${titles.map((title, i) => cell('th', escape(title), i)).join('')}</tr></thead>`;
  const body = rows.map((row) => `<tr>${row.map((content, i) => cell('td', cellHtml(content), i)).join('')}</tr>`);
  return `<div class="scroll"><table>${head}<tbody>${body.join('')}</tbody></table></div>`;
}

const plain = (cell: Cell): string => (typeof cell === 'object' ? '' : cellHtml(cell));

/** A matrix with shaded cells. `shade` says how dark a cell is, 0 to 1; below, the text that it shows. */
export function matrix(
  names: readonly string[],
  values: readonly (readonly number[])[],
  {
    shade,
    show,
    corner = '',
  }: { shade: (row: number, column: number) => number; show: (value: number) => string; corner?: string },
): string {
  const head = names.map((name) => `<th>${escape(name)}</th>`).join('');
  const rows = values.map((row, r) => {
    const cells = row.map((value, c) => {
      const title = `${names[r]}, ${names[c]}: ${show(value)}`;
      return `<td style="--v:${(0.6 * shade(r, c)).toFixed(3)}" title="${escape(title)}">${escape(show(value))}</td>`;
    });
    return `<tr><th>${escape(names[r])}</th>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table class="matrix"><thead><tr><th>${escape(corner)}</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

export interface PageParts {
  readonly title: string;
  readonly body: string;
  readonly styles: readonly string[];
  readonly scripts: readonly string[];
}

/** A whole page that needs nothing from anywhere else. */
export const page = ({ title, body, styles, scripts }: PageParts): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
${styles.map((style) => `<style>${style}</style>`).join('\n')}
</head>
<body><main>
${body}
</main>
${scripts.map((script) => `<script>${script.replace(/<\/script/gi, '<\\/script')}</script>`).join('\n')}
</body>
</html>
`;
