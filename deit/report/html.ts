/** HTML as a type of its own: text becomes part of a page only through `html`, which escapes it. Browser-safe. */

/** HTML that was made here. No text from a file is one, whatever it holds. */
class Markup {
  constructor(private readonly markup: string) {}
  toString(): string {
    return this.markup;
  }
}
export type Html = Markup;

/** What may stand in a template: text and numbers are escaped, lists are joined, null is nothing. */
export type Part = string | number | null | Html | readonly Part[];

/** A template of HTML: its own words as they are, every value escaped for text and for attributes in quotes. */
export const html = (words: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Markup(words.reduce((whole, word, i) => whole + textOf(parts[i - 1]) + word));

function textOf(part: Part): string {
  if (part === null) return '';
  if (part instanceof Markup) return part.toString();
  return Array.isArray(part) ? part.map(textOf).join('') : escape(String(part));
}

/** Control characters, which HTML forbids, and overrides of the direction of text, which would make it read otherwise. */
const UNSEEN = /(?![\t\n])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

const escape = (text: string): string =>
  text.replace(/[&<>"'`]/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(UNSEEN, '\ufffd');

/** Data for the page's scripts, in an element of its own. No text in it can end the element or open a comment in it. */
export function dataScript(id: string, data: unknown): Html {
  const hex = (sign: string): string => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const json = JSON.stringify(data).replace(/[<>&\u2028\u2029]/g, hex);
  return new Markup(`<script type="application/json" id="${escape(id)}">${json}</script>`);
}

/** A cell; whether it is a number is seen from its text. */
export type Cell = string | number | Html;

const shown = (cell: Cell): string | Html => (typeof cell === 'number' ? formatNumber(cell) : cell);

/** Four significant digits, thousands grouped. */
export const formatNumber = (value: number): string =>
  Number.isInteger(value) || Math.abs(value) >= 1e4
    ? Math.round(value).toLocaleString('en-US')
    : String(Number(value.toPrecision(4)));

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export function table(titles: readonly string[], rows: readonly (readonly Cell[])[]): Html {
  const isNumber = (cell: Cell): boolean => !(cell instanceof Markup) && /^[\d–.,-]+( \S+)?$/.test(String(shown(cell)));
  const kinds = titles.map((_, i) => (rows.length > 0 && rows.every((row) => isNumber(row[i])) ? 'n' : 'wrap'));
  const head = titles.map((title, i) => html`<th class="${kinds[i]}">${title}</th>`);
  const body = rows.map((row) => row.map((cell, i) => html`<td class="${kinds[i]}">${shown(cell)}</td>`));
  return scrolled('', head, body);
}

const scrolled = (kind: string, head: readonly Html[], rows: readonly (readonly Html[])[]): Html =>
  html`<div class="scroll">
    <table class="${kind}">
      <thead>
        <tr>
          ${head}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (cells) =>
            html`<tr>
              ${cells}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;

/** Steps of shade that report.css has. */
const SHADES = 20;

/** A matrix with shaded cells. `shade` says how dark a cell is, 0 to 1; below, the text that it shows. */
export function matrix(
  names: readonly string[],
  values: readonly (readonly number[])[],
  { shade, show }: { shade: (row: number, column: number) => number; show: (value: number) => string },
): Html {
  const head = ['', ...names].map((name) => html`<th>${name}</th>`);
  const rows = values.map((row, r) => {
    const cells = row.map((value, c) => {
      const level = Math.round(SHADES * shade(r, c));
      return html`<td class="v${level}" title="${names[r]}, ${names[c]}: ${show(value)}">${show(value)}</td>`;
    });
    return [html`<th>${names[r]}</th>`, ...cells];
  });
  return scrolled('matrix', head, rows);
}

/** A style or a script of ours, with the SHA-256 in base64 by which the page's policy lets it in. */
export interface PageAsset {
  readonly text: string;
  readonly sha256: string;
}

/** What every page of ours contains. */
export interface PageAssets {
  readonly styles: readonly PageAsset[];
  readonly scripts: readonly PageAsset[];
}

/**
 * A whole page that needs nothing from anywhere else. Its policy lets in these styles and scripts and embedded pictures alone:
 * should text from a file ever become part of the page unescaped, it would still run nothing and load nothing.
 */
export function renderPage(title: string, body: Html, { styles, scripts }: PageAssets): string {
  const sources = (assets: readonly PageAsset[]): string =>
    assets.length === 0 ? `'none'` : assets.map(({ sha256 }) => `'sha256-${sha256}'`).join(' ');
  const policy = `default-src 'none'; script-src ${sources(scripts)}; style-src ${sources(styles)}; img-src data:; base-uri 'none'; form-action 'none'`;
  // No template: the hashes are of these very bytes, blanks included.
  const elements = (tag: string, assets: readonly PageAsset[]): Html[] =>
    assets.map(({ text }) => new Markup(`<${tag}>${text}</${tag}>\n`));
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <link rel="icon" href="data:," />
        ${elements('style', styles)}
      </head>
      <body>
        <main>${body}</main>
        ${elements('script', scripts)}
      </body>
    </html> `.toString();
}
