import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toPng } from '../../deit/report/node/pictures.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const folder = mkdtempSync(join(tmpdir(), 'deit-install-'));
const windows = process.platform === 'win32';

/** Runs a program in the empty folder, as a user does who has nothing of this repository. */
async function run(program: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const command = windows ? `${program}.cmd` : program;
  return promisify(execFile)(command, args, { cwd: folder, shell: windows, maxBuffer: 2 ** 24 });
}
const installed = (name: string): string => join(folder, 'node_modules', '.bin', name);

const program = `import { createEngine, matmul } from 'deit-webgpu/engine';
import type { Engine, Tensor } from 'deit-webgpu/engine';
import { AdamW, Linear, decayGroups } from 'deit-webgpu/nn';
import { createModel } from 'deit-webgpu/deit';
import { createEngine as sameEngine, openModel } from 'deit-webgpu';

const engine: Engine = await createEngine({ seed: 1 });
const x: Tensor = engine.tensor([1, 2, 3, 4], [2, 2]);
const layer = new Linear(engine, 2, 3);
const optimizer = new AdamW(decayGroups(layer.namedParameters(), 0.05), { betas: [0.9, 0.999], eps: 1e-8 });
const model = createModel(engine, 'deit_tiny_distilled_patch16_224 img_size=32 depth=1 num_classes=10');
console.log(JSON.stringify({ product: [...(await matmul(x, x).read())], distilled: model.distilled, norm: optimizer.norm !== undefined, root: sameEngine === createEngine && typeof openModel === 'function' }));
engine.close();
`;

describe('the package, installed in an empty folder', () => {
  let archive = '';

  beforeAll(async () => {
    const npm = windows ? 'npm.cmd' : 'npm';
    const options = { cwd: root, shell: windows, maxBuffer: 2 ** 24 };
    await promisify(execFile)(npm, ['run', 'build'], options);
    const packed = await promisify(execFile)(
      npm,
      ['pack', '--ignore-scripts', '--json', '--pack-destination', folder],
      options,
    );
    const [{ filename }] = JSON.parse(packed.stdout) as { filename: string }[];
    archive = join(folder, filename);
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
    await run(
      'npm',
      'install',
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      archive,
      'typescript@5.4.5',
      '@types/node@20.19.43',
    );
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is lean: nearly all of it is the model and the CIFAR-10 sample', () => {
    const megabytes = statSync(archive).size / 1e6;
    // 11 MB of weights in f16 and 9 MB of pictures, neither of which compresses.
    expect(megabytes).toBeLessThan(21);
  });

  it('has nothing of the tests, the references, the page and the benchmarks', async () => {
    const { stdout } = await run(installed('deit'), '--help');
    expect(stdout).toContain('train');
    const files = join(folder, 'node_modules', 'deit-webgpu');
    for (const name of ['test', 'bench', 'dist/site', 'dist/deit/browser']) {
      expect(() => statSync(join(files, name)), name).toThrow('ENOENT');
    }
    const published = readdirSync(join(files, 'dist', 'kernels'), { recursive: true, encoding: 'utf8' });
    expect(published.filter((name) => /reference/.test(name))).toEqual([]);
    const { dependencies } = JSON.parse(readFileSync(join(files, 'package.json'), 'utf8')) as { dependencies: object };
    expect(Object.keys(dependencies)).not.toContain('esbuild');
  });

  it('classifies a picture with the model that it brings', async () => {
    const data = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => (i * 7) % 256);
    writeFileSync(join(folder, 'photo.png'), await toPng({ width: 64, height: 64, data }));
    const { stdout } = await run(installed('deit'), 'predict', '--json', 'photo.png');
    const { top5 } = JSON.parse(stdout) as { top5: { name: string; probability: number }[] };
    expect(top5).toHaveLength(5);
    expect(top5[0].probability).toBeGreaterThan(top5[4].probability);
  });

  it.each([
    ['TypeScript 5.4 without the types of a browser', folder, ['--target', 'es2022', '--lib', 'es2022']],
    ['the current TypeScript', root, ['--target', 'es2023']],
  ])('is imported with its types, none of which is skipped: %s', async (_, from, own) => {
    writeFileSync(join(folder, 'use.mts'), program);
    const tsc = join(from, 'node_modules', 'typescript', 'bin', 'tsc');
    const flags = ['--strict', '--skipLibCheck', 'false', '--module', 'nodenext', ...own];
    await promisify(execFile)(process.execPath, [tsc, ...flags, 'use.mts'], { cwd: folder }).catch((error: unknown) => {
      throw new Error((error as { stdout: string }).stdout);
    });
    const { stdout } = await promisify(execFile)(process.execPath, ['use.mjs'], { cwd: folder });
    expect(JSON.parse(stdout)).toEqual({ product: [7, 10, 15, 22], distilled: true, norm: true, root: true });
  });
});
