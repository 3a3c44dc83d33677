import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { bundled } from '../../bench/bundled.ts';
import { uniform } from '../support/close.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const folder = mkdtempSync(join(tmpdir(), 'deit-docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The blocks of a language in a page. */
const blocks = (page: string, language: string): string[] =>
  [...readFileSync(join(root, page), 'utf8').matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(
    ([, text]) => text,
  );

const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: folder, maxBuffer: 2 ** 24 });
/** Node's argument for the loader for TypeScript, from any folder. */
const loader = `--import=${pathToFileURL(join(root, 'node_modules/tsx/dist/loader.mjs')).href}`;

/** Runs a program of a page as if the package were installed, and returns what it prints. */
async function runProgram(page: string): Promise<unknown> {
  const [program] = blocks(page, 'ts');
  const file = join(folder, `${page.replaceAll('/', '-')}.mts`);
  writeFileSync(
    file,
    program.replace(
      /'deit-webgpu\/(\w+)'/g,
      (_, room: string) => `'${pathToFileURL(join(root, room, 'node.ts')).href}'`,
    ),
  );
  return JSON.parse((await node(loader, file)).stdout);
}

describe('programs in the documentation', () => {
  it('engine/CUSTOM-OP.md: softplus and its gradient', async () => {
    const x = [-2, 0, 3, 100];
    const { y, dx } = (await runProgram('engine/CUSTOM-OP.md')) as { y: number[]; dx: number[] };
    // Six digits: exp and log in WGSL are good to a few units in the last place.
    x.forEach((value, i) => {
      expect(y[i]).toBeCloseTo(value > 50 ? value : Math.log1p(Math.exp(value)), 5);
      expect(dx[i]).toBeCloseTo(1 / (1 + Math.exp(-value)), 5);
    });
  });

  it('kernels/ADDING.md: a whole kernel', async () => {
    expect(await runProgram('kernels/ADDING.md')).toEqual([6, 7, 8, 14, 15, 16]);
  });
});

describe('commands in the documentation', () => {
  it('deit/FIRST-RUN.md from the first to the last', async () => {
    for (const [label, color] of [
      ['daisy', 230],
      ['rose', 40],
    ] as const) {
      mkdirSync(join(folder, 'photos', label), { recursive: true });
      for (let i = 1; i <= 10; i++) {
        const noise = uniform(3 * 48 * 48, i);
        const data = Uint8Array.from(noise, (value) => Math.max(0, Math.min(255, color + 20 * value)));
        const raw = { width: 48, height: 48, channels: 3 } as const;
        await sharp(data, { raw }).toFile(join(folder, 'photos', label, `${i}.jpg`));
      }
    }
    const commands = blocks('deit/FIRST-RUN.md', 'sh').flatMap((block) => block.trim().split('\n'));
    expect(commands.length).toBeGreaterThan(6);
    for (const command of commands) {
      const [program, ...words] = command.split(' ');
      expect(program).toBe('deit');
      // The same command, shortened: one step of two small images.
      const short = [
        '--model',
        'deit_tiny_patch16_224 img_size=64',
        '--steps',
        '1',
        '--set',
        'data.batchSize=2',
        '--set',
        'data.workers=0',
      ];
      await node(await bundled('deit/cli/main.ts'), ...words, ...(words[0] === 'finetune' ? short : []));
    }
    const run = readdirSync(join(folder, 'runs/flowers'));
    for (const file of ['student.safetensors', 'config.json', 'metrics.jsonl', 'metrics.csv', 'report.html']) {
      expect(run).toContain(file);
    }
    expect(readdirSync(join(folder, 'attention'))).toEqual(
      expect.arrayContaining(['attention.html', 'class-layers.png', 'class-rollout.png']),
    );
    expect(statSync(join(folder, 'comparison.html')).size).toBeGreaterThan(10_000);
  }, 240_000);

  it('deit/SCALING.md: the script for Slurm and the job for Kubernetes, as far as they can be checked without either', async () => {
    const [script] = blocks('deit/SCALING.md', 'bash');
    const [job] = blocks('deit/SCALING.md', 'yaml');
    const file = join(folder, 'job.sh');
    writeFileSync(file, script);
    await promisify(execFile)('bash', ['-n', file]);
    const of = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1]);
    // As many ranks as the script starts have to divide the slices that it asks for.
    const tasks = of(script, /--nodes=(\d+)/) * of(script, /--ntasks-per-node=(\d+)/);
    expect(tasks).toBeGreaterThan(1);
    expect(of(script, /data\.accumulate=(\d+)/) % tasks).toBe(0);
    // As many ranks as there are places for.
    expect(of(job, /-n, '(\d+)'/)).toBe(of(job, /Worker:\n +replicas: (\d+)/) * of(job, /slotsPerWorker: (\d+)/));
    const help = await node(await bundled('deit/cli/main.ts'), 'train', '--help');
    const recipes = await node(await bundled('deit/cli/main.ts'), 'recipes');
    const trained = [
      /npx (deit train [^]*?)\n(?! {2})/.exec(script)![1],
      `deit train ${/args: \[(.*)\]/.exec(job)![1]}`,
    ];
    for (const words of trained.map((text) => text.replace(/[,\\]/g, '').split(/\s+/))) {
      const options = words.filter((word) => word.startsWith('--'));
      expect(options.length).toBeGreaterThan(2);
      for (const option of options) expect(help.stdout).toMatch(new RegExp(`${option}\\b`));
      expect(recipes.stdout).toContain(words[words.indexOf('--recipe') + 1]);
    }
  }, 60_000);
});
