/**
 * `npm run wasm`: compiles the data pipeline's WebAssembly (deit/data/wasm/assembly, AssemblyScript) into
 * deit/data/wasm/module.ts, which is committed so that nobody needs the compiler to run from a clone. A test checks that the
 * two agree.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SOURCE = 'deit/data/wasm/assembly/index.ts';
const FLAGS = ['-O3', '--enable', 'simd', '--runtime', 'stub', '--noAssert', '--use', 'abort='];
const LINE = 108;

/**
 * The module's bytes. Throws with the compiler's messages. The compiler runs by itself: its types, once imported, would change
 * those of arrays in the whole project.
 */
export async function compileKernels(root: string): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), 'deit-wasm-'));
  try {
    const outFile = join(folder, 'kernels.wasm');
    const compiler = join(root, 'node_modules/assemblyscript/bin/asc.js');
    const args = [compiler, SOURCE, '--baseDir', root, '--outFile', relative(root, outFile), ...FLAGS];
    await promisify(execFile)(process.execPath, args, { cwd: root });
    return readFileSync(outFile);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The text of deit/data/wasm/module.ts. */
export function moduleText(bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(new RegExp(`.{1,${LINE}}`, 'g')) ?? [];
  return `/** Compiled from ./assembly by \`npm run wasm\`: do not edit. ${bytes.length} bytes of WebAssembly in base64. */
// prettier-ignore
export const moduleBase64 = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('');
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const bytes = await compileKernels(root);
  writeFileSync(new URL('../deit/data/wasm/module.ts', import.meta.url), moduleText(bytes));
  process.stdout.write(`deit/data/wasm/module.ts: ${bytes.length} bytes of WebAssembly\n`);
}
