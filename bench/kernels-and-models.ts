/**
 * Node only. Kernels and models on this machine's adapter, as a table and as JSON under bench/results/. Every case is the
 * median of several runs, after a warm-up; results are correct by the tests, which walk the same kernels.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createEngine,
  gelu,
  layerNorm,
  linear,
  matmul,
  measurePeak,
  patchEmbed,
  scaledDotProductAttention,
  softmax,
} from '../engine/node.ts';
import type { Engine, Tensor } from '../engine/node.ts';
import { AdamW, decayGroups } from '../nn/index.ts';
import { crossEntropy } from '../engine/index.ts';
import { createModel, summarizeModel } from '../deit/models/registry.ts';

interface Case {
  readonly name: string;
  /** Floating point operations of one run; 0 where bytes are what counts. */
  readonly flops: number;
  readonly bytes: number;
  /** Prepares inputs and returns what records one run. */
  prepare(engine: Engine): () => void;
}

interface Measured {
  readonly name: string;
  readonly ms: number;
  readonly firstMs: number;
  readonly gflops: number | null;
  readonly gbytes: number | null;
  readonly dispatches: number;
}

const REPEATS = 9;

const filled = (engine: Engine, shape: readonly number[]): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return engine
    .tensor(
      Float32Array.from({ length: size }, (_, i) => Math.sin(i) / 2),
      shape,
    )
    .keep('input');
};

const product = (batch: number, m: number, k: number, n: number, transposed: 'A' | 'B' | '' = ''): Case => ({
  name: `matmul ${batch > 1 ? `${batch} x ` : ''}${m}x${k}x${n}${transposed ? ` (${transposed} transposed)` : ''}`,
  flops: 2 * batch * m * n * k,
  bytes: 4 * batch * (m * k + k * n + m * n),
  prepare(engine) {
    const [transposeA, transposeB] = [transposed === 'A', transposed === 'B'];
    const a = filled(engine, transposeA ? [batch, k, m] : [batch, m, k]);
    const b = filled(engine, transposeB ? [batch, n, k] : [batch, k, n]);
    return () => void matmul(a, b, { transposeA, transposeB });
  },
});

const rowwise = (name: string, rows: number, columns: number, run: (x: Tensor) => Tensor): Case => ({
  name: `${name} ${rows}x${columns}`,
  flops: 0,
  bytes: 8 * rows * columns,
  prepare(engine) {
    const x = filled(engine, [rows, columns]);
    return () => void run(x);
  },
});

const forward = (spec: string, batch: number): Case => {
  const { imageSize, multiplyAdds } = summarizeModel(spec);
  return {
    name: `forward ${spec}, batch ${batch}`,
    flops: 2 * multiplyAdds * batch,
    bytes: 0,
    prepare(engine) {
      const model = createModel(engine, spec).eval();
      const images = filled(engine, [batch, 3, imageSize, imageSize]);
      return () => void engine.noGrad(() => model.heads(images));
    },
  };
};

const training = (spec: string, batch: number): Case => {
  const { imageSize, multiplyAdds } = summarizeModel(spec);
  return {
    name: `training step ${spec}, batch ${batch}`,
    flops: 6 * multiplyAdds * batch,
    bytes: 0,
    prepare(engine) {
      const model = createModel(engine, spec);
      for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad_(!name.startsWith('head_dist'));
      const optimizer = new AdamW(decayGroups(model.namedParameters(), 0.05));
      const images = filled(engine, [batch, 3, imageSize, imageSize]);
      const labels = engine.tensor(new Int32Array(batch), [batch], 'i32').keep('input');
      optimizer.prepareStep(1e-4);
      return () => {
        optimizer.zeroGrad();
        crossEntropy(model.heads(images).cls, labels).backward();
        optimizer.step();
      };
    },
  };
};

const SMALL = 'deit_tiny_distilled_patch16_224 img_size=32 patch_size=4 num_classes=10';
const cases: readonly Case[] = [
  product(1, 1024, 1024, 1024),
  product(1, 1023, 1021, 1019),
  product(1, 1024, 1024, 1024, 'A'),
  product(1, 1023, 1021, 1019, 'A'),
  product(1, 1576, 192, 768),
  product(1, 1576, 768, 192),
  product(24, 197, 64, 197, 'B'),
  {
    name: 'linear 1576x192 -> 576',
    flops: 2 * 1576 * 192 * 576,
    bytes: 0,
    prepare(engine) {
      const [x, weight, bias] = [filled(engine, [1576, 192]), filled(engine, [576, 192]), filled(engine, [576])];
      return () => void linear(x, weight, bias);
    },
  },
  {
    name: 'attention 8 x 3 heads x 197 x 64',
    flops: 4 * 24 * 197 * 197 * 64,
    bytes: 0,
    prepare(engine) {
      const qkv = filled(engine, [8, 197, 576]);
      return () => void scaledDotProductAttention(qkv, 3);
    },
  },
  rowwise('softmax', 4728, 197, (x) => softmax(x)),
  rowwise('layer norm', 1576, 192, (x) => layerNorm(x, null, null)),
  rowwise('GELU', 1576, 768, (x) => gelu(x)),
  {
    name: 'patch embedding 8x3x224x224 -> 192',
    flops: 2 * 8 * 196 * 768 * 192,
    bytes: 0,
    prepare(engine) {
      const [image, weight, bias] = [
        filled(engine, [8, 3, 224, 224]),
        filled(engine, [192, 3, 16, 16]),
        filled(engine, [192]),
      ];
      return () => void patchEmbed(image, weight, bias);
    },
  },
  forward('deit_tiny_distilled_patch16_224', 1),
  forward('deit_tiny_distilled_patch16_224', 8),
  training(SMALL, 16),
];

async function measure(engine: Engine, one: Case): Promise<Measured> {
  const { name, flops, bytes } = one;
  const work = one.prepare(engine);
  const start = performance.now();
  const recording = engine.record(work);
  await engine.idle();
  const firstMs = performance.now() - start;
  const samples: number[] = [];
  for (let i = 0; i <= REPEATS; i++) {
    const before = performance.now();
    engine.replay(recording);
    await engine.idle();
    // The first replay warms up.
    if (i > 0) samples.push(performance.now() - before);
  }
  const ms = samples.sort((a, b) => a - b)[REPEATS >> 1];
  const { dispatches } = recording;
  recording.release();
  const rate = (amount: number): number | null => (amount > 0 ? amount / ms / 1e6 : null);
  return { name, ms, firstMs, gflops: rate(flops), gbytes: rate(bytes), dispatches };
}

/** One line a measurement, so that figures have a past. */
const HISTORY = 'history.jsonl';

/** The commit that was measured, with `+` where files differ from it; null outside of a clone. */
function commit(): string | null {
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8', stdio: 'pipe' }).trim();
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') && '+'}`;
  } catch {
    return null;
  }
}

/** Measures the cases whose names match `filter`; without one, all of them, and writes to bench/results/. */
export async function benchKernelsAndModels(filter: string | undefined): Promise<void> {
  const engine = await createEngine();
  const peak = await measurePeak(engine);
  console.log(
    `${engine.adapter.name}: peak ${(peak.flops / 1e9).toFixed(0)} GFLOP/s, ${(peak.bytes / 1e9).toFixed(1)} GB/s`,
  );
  console.log(`${'case'.padEnd(86)}       ms  first ms  GFLOP/s    GB/s  dispatches`);
  const results: Measured[] = [];
  for (const one of cases.filter(({ name }) => new RegExp(filter ?? '').test(name))) {
    const result = await measure(engine, one);
    results.push(result);
    const cell = (value: number | null): string => (value === null ? '-' : value.toFixed(1)).padStart(8);
    console.log(
      `${result.name.padEnd(86)} ${result.ms.toFixed(2).padStart(8)} ${result.firstMs.toFixed(0).padStart(9)} ${cell(result.gflops)} ${cell(result.gbytes)} ${String(result.dispatches).padStart(11)}`,
    );
  }
  const folder = new URL('results/', import.meta.url).pathname;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${engine.adapter.choice}.json`);
  const report = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    adapter: engine.adapter,
    peak,
    results,
  };
  if (filter === undefined) {
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    const ms = Object.fromEntries(results.map((result) => [result.name, Number(result.ms.toPrecision(4))]));
    const line = { date: report.date, commit: commit(), node: report.node, adapter: engine.adapter.name, peak, ms };
    appendFileSync(join(folder, HISTORY), `${JSON.stringify(line)}\n`);
    console.log(`written to ${file}, and a line to ${HISTORY} beside it`);
  }
  engine.close();
}
