/**
 * Node only. `npm run bench:gpu:bundle [-- --with-node]`: everything that a machine with a GPU needs for bench/gpu, in
 * dist/bench-gpu/: the bundle, Dawn, what PyTorch computes in float64, the PyTorch side and run.sh. With --with-node, Node itself too, and all of it packed
 * as dist/bench-gpu.tar.xz.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'dist/bench-gpu');
rmSync(folder, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['bench/gpu/main.ts'],
  // A folder down: its tests look for ../golden and ../cases.
  outfile: join(folder, 'bin/bench-gpu.mjs'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // Native, and copied beside.
  external: ['webgpu'],
  logLevel: 'warning',
});
const [from, to] = [join(root, 'node_modules/webgpu'), join(folder, 'node_modules/webgpu')];
const binaries = `dist/${process.platform}-${process.arch}`;
mkdirSync(join(to, binaries), { recursive: true });
for (const file of ['package.json', 'index.js', 'LICENSE.md']) copyFileSync(join(from, file), join(to, file));
cpSync(join(from, binaries), join(to, binaries), { recursive: true });
for (const file of ['torch_reference.py', 'run.sh']) copyFileSync(join(root, 'bench/gpu', file), join(folder, file));
chmodSync(join(folder, 'run.sh'), 0o755);
cpSync(join(root, 'test/cases/operators'), join(folder, 'cases/operators'), { recursive: true });
for (const file of readdirSync(join(root, 'test/golden'))) {
  if (!/^(ops|operators|models|training).*\.(json|safetensors)$/.test(file)) continue;
  cpSync(join(root, 'test/golden', file), join(folder, 'golden', file));
}
console.log(`${folder}: copy it to the machine with the GPU and start ./run.sh there`);
if (process.argv.includes('--with-node')) {
  copyFileSync(process.execPath, join(folder, 'node'));
  chmodSync(join(folder, 'node'), 0o755);
  const archive = `${folder}.tar.xz`;
  const { status } = spawnSync('tar', ['-cJf', archive, '-C', join(root, 'dist'), 'bench-gpu'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('tar could not pack the folder; is xz installed?');
  console.log(`${archive}: tar -xf it there (or python3 -m tarfile -e), then bench-gpu/run.sh`);
}
