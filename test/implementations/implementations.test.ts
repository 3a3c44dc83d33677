/**
 * The engine in other runtimes than Node and on another WebGPU than Dawn: a distilled training run and teachers' logits
 * against PyTorch in float64, within the tolerances of the tests in Node; and the command.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { toPng } from '../../deit/report/node/pictures.ts';
import type { Comparison } from '../support/golden-training.ts';
import { findTool } from '../support/programs.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'deit-runtimes-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Found {
  readonly adapter: { readonly choice: string; readonly name: string; readonly features: readonly string[] };
  readonly training: readonly Comparison[];
  readonly teachers: readonly Comparison[];
}

/** Flags before the program: Deno asks for permissions, and is to use the packages that npm installed. */
const RUNTIMES = { deno: ['run', '--allow-all', '--node-modules-dir=manual'], bun: [] } as const;
type Runtime = keyof typeof RUNTIMES;

async function run(runtime: Runtime, args: readonly string[], adapter = 'auto'): Promise<string> {
  const environment = { ...process.env, DEIT_ADAPTER: adapter, NO_COLOR: '1' };
  const options = { cwd: root, env: environment, maxBuffer: 2 ** 26 };
  const { stdout } = await promisify(execFile)(findTool(runtime)!, [...RUNTIMES[runtime], ...args], options);
  return stdout;
}

const tooFar = (comparisons: readonly Comparison[]): Comparison[] =>
  comparisons.filter(({ error, allowed }) => !(error <= allowed));

function expectTrained({ training, teachers }: Found): void {
  expect(training).toHaveLength(20);
  expect(tooFar(training)).toEqual([]);
  expect(training[0].error).toBeLessThan(2e-6);
  expect(teachers.length).toBeGreaterThanOrEqual(3);
  expect(tooFar(teachers)).toEqual([]);
}

describe.each(['deno', 'bun'] as const)('%s', (runtime) => {
  const isHere = findTool(runtime) !== null;
  const skipped = `IS NOT TESTED: it is not here (npm install --prefix ~/.cache/deit-webgpu/tools ${runtime})`;

  describe.runIf(isHere)(isHere ? 'with the packages of npm' : skipped, () => {
    it('trains and evaluates on Dawn as Node does', async () => {
      const found = JSON.parse(await run(runtime, ['test/implementations/program.ts'])) as Found;
      expect(found.adapter.choice).not.toBe('runtime');
      expectTrained(found);
    }, 200_000);

    it('runs the command: files, worker threads, a training and its report', async () => {
      const data = join(folder, `photo-${runtime}.png`);
      const pixels = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => (i * 7) % 256);
      writeFileSync(data, await toPng({ width: 64, height: 64, data: pixels }));
      const main = 'deit/cli/main.ts';
      const { top5 } = JSON.parse(await run(runtime, [main, 'predict', '--json', data])) as { top5: unknown[] };
      expect(top5).toHaveLength(5);
      const out = join(folder, runtime);
      const sizes = ['model.name=deit_tiny_distilled_patch16_224 img_size=32 patch_size=8 embed_dim=48 depth=1 heads=3', 'teacher.model=regnety_002 w0=16 wa=8 wm=2.2 depth=4 group_width=8 stem_stride=1']; // prettier-ignore
      const small = [...sizes, 'data.workers=2', 'data.batchSize=8'].flatMap((setting) => ['--set', setting]);
      await run(runtime, [main, 'train', '--recipe', 'quick-demo', ...small, '--steps', '2', '--output', out]);
      const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
      const losses = lines.flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);
      expect(losses.length).toBeGreaterThan(0);
      for (const loss of losses) expect(loss).toBeLessThan(10);
      expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('<html');
    }, 200_000);
  });
});

const deno = findTool('deno');
describe.runIf(deno !== null)("wgpu, Deno's own WebGPU", () => {
  it('trains and evaluates within the tolerances of Dawn', async () => {
    const found = JSON.parse(await run('deno', ['test/implementations/program.ts'], 'runtime')) as Found;
    expect(found.adapter.choice).toBe('runtime');
    expectTrained(found);
  }, 200_000);

  it('is taken by an adapter of its own too', async () => {
    const program = join(root, 'test/implementations/own-adapter.ts');
    expect(JSON.parse(await run('deno', [program]))).toEqual({ choice: 'given', quarter: 0.25 });
  }, 60_000);
});
