/**
 * The last step of `npm run build`: makes the declarations in dist ones that TypeScript from 5.4 on reads without `skipLibCheck`,
 * and without the types of a browser. Generic typed arrays are of TypeScript 5.7, and WebGPU's interfaces of its library since 6.0
 * or of @webgpu/types; interfaces without members merge with either, and stand for them where neither is.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const DIST = 'dist';
const GENERIC_ARRAY = /\b((?:Float|Int|Uint)(?:8|16|32|64)(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;
const NAMES = 'webgpu-names.d.ts';

const declarations = readdirSync(DIST, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.d.ts') && name !== NAMES)
  .map((name) => join(DIST, name));
const names = new Set<string>();
for (const path of declarations) {
  const text = readFileSync(path, 'utf8').replace(GENERIC_ARRAY, '$1');
  const own = [...text.matchAll(/\bGPU\w+/g)].map(([name]) => name);
  for (const name of own) names.add(name);
  const reference = `/// <reference path="${relative(dirname(path), join(DIST, NAMES)).replaceAll('\\', '/')}" />\n`;
  writeFileSync(path, own.length > 0 && !text.includes(reference) ? reference + text : text);
}
writeFileSync(join(DIST, NAMES), [...names].sort().map((name) => `interface ${name} {}\n`).join('')); // prettier-ignore
