/**
 * `npm run wasm`: compiles the data pipeline's WebAssembly (deit/data/wasm/assembly, AssemblyScript) into
 * deit/data/wasm/module.ts, which is committed so that nobody needs the compiler to run from a clone. A test checks that the
 * two agree.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCE = 'deit/data/wasm/assembly/index.ts';
const FLAGS = ['-O3', '--enable', 'simd', '--runtime', 'stub', '--noAssert', '--use', 'abort='];
const LINE = 108;

/** The module's bytes. Throws with the compiler's messages. */
export async function compileKernels(root: string): Promise<Uint8Array> {
  const { main } = await import('assemblyscript/asc');
  let bytes: Uint8Array | undefined;
  const { error } = await main([SOURCE, '--baseDir', root, '--outFile', 'kernels.wasm', ...FLAGS], {
    writeFile: (_name, contents) => void (bytes = contents as Uint8Array),
  });
  if (error || !bytes) throw error ?? new Error(`${SOURCE} does not compile`);
  return bytes;
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
