/**
 * `npm run bench -- --ranks [batch sizes] [--minutes M] [--rounds N] [--processes N ...] [--steps N] [--set key=value ...]
 * [--output FILE]`: images a second of one process, of several ranks, and of as many processes that know nothing of each other, on the
 * same cores, in interleaved rounds. Without options it is written to bench/results/.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { encodeCifar10Record } from '../../deit/data/cifar.ts';
import { checkMpi } from '../../deit/parallel/node/check.ts';
import type { RankTimes } from '../../deit/parallel/rank-times.ts';
import type { RunResult } from '../../deit/train/run-schemas.ts';
import { expectThat, runWell } from '../drills/drill.ts';
import { median } from '../peers/results.ts';

/** What is trained: DeiT-Ti on images of 64 pixels, without augmentation that the processor would have to do. */
const MODEL = 'deit_tiny_patch16_224 img_size=64 num_classes=10';
const SETTINGS = [
  `model.name=${MODEL}`,
  'augment.policy=null',
  'augment.repeats=1',
  'data.workers=0',
  'run.evaluateEvery=0',
  'run.checkpointEvery=1000000',
];
const BATCHES = [16, 32, 64, 128];
/** Images that a run trains on at least, and its fewest steps, of which the first is not counted: it compiles. */
const IMAGES = 128;
/** Made-up images to train on, enough for any batch, and to measure accuracy on, which is not what is timed. */
const DATA = { 'data_batch_1.bin': 512, 'test_batch.bin': 8 };
const LEAST_STEPS = 6;
const WRITTEN = fileURLToPath(new URL('../results/ranks.json', import.meta.url));
/** Parts of one process, and of independent ones, that several ranks are to reach. */
const GOALS = { one: 0.95, independent: 0.97 };

/** What one run came to. */
type Figures = Pick<RunResult, 'imagesPerSecond' | 'ranks' | 'adapter'>;

/** One batch size on one number of processes: images a second, of every round. */
interface Measured {
  readonly batch: number;
  readonly processes: number;
  readonly one: number[];
  readonly ranks: number[];
  readonly independent: number[];
  readonly times: RankTimes[];
}

/** Medians; the times are parts of a run's time, with its first step, on average over the ranks. */
interface Row {
  readonly batch: number;
  readonly processes: number;
  readonly rounds: number;
  readonly one: number;
  readonly ranks: number;
  readonly independent: number;
  readonly ranksToOne: number;
  readonly ranksToIndependent: number;
  readonly waiting: number;
  readonly summing: number;
  readonly copying: number;
}

export async function measureRanks(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      minutes: { type: 'string', default: '11' },
      rounds: { type: 'string', default: '5' },
      steps: { type: 'string' },
      processes: { type: 'string', multiple: true, default: availableParallelism() >= 4 ? ['2', '4'] : ['2'] },
      set: { type: 'string', multiple: true, default: [] },
      output: { type: 'string', default: args.length === 0 ? WRITTEN : undefined },
    },
  });
  const worlds = values.processes.map(Number);
  const batches = positionals.length > 0 ? positionals.map(Number) : BATCHES;
  const folder = mkdtempSync(join(tmpdir(), 'deit-bench-ranks-'));
  for (const [file, count] of Object.entries(DATA)) writeFileSync(join(folder, file), records(count));
  const trainer = new Trainer(folder, values.set, values.steps === undefined ? null : Number(values.steps));
  const measured = batches.flatMap((batch) =>
    worlds.map((processes): Measured => ({ batch, processes, one: [], ranks: [], independent: [], times: [] })),
  );
  const start = performance.now();
  const passed = (): number => (performance.now() - start) / 60_000;
  try {
    // The machine's speed drifts: what is compared is measured close together, and all of it again and again.
    for (let round = 1; round <= Number(values.rounds); round++) {
      for (const one of measured) await trainer.measure(one);
      process.stderr.write(`round ${round} of at most ${values.rounds}, ${passed().toFixed(1)} minutes\n`);
      if (passed() * (1 + 1 / round) > Number(values.minutes)) break;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const rows = measured.map(summarize);
  const report = {
    date: new Date().toISOString().slice(0, 10),
    adapter: trainer.adapter,
    machine: `${availableParallelism()} cores of ${cpus()[0].model.trim()}`,
    node: process.versions.node,
    mpi: (await checkMpi()).library,
    model: MODEL,
    rows,
  };
  console.log(`${report.machine}, ${report.adapter}, ${report.mpi}; medians of ${rows[0].rounds} rounds`);
  console.log(table(rows));
  for (const processes of worlds) console.log(reached(rows, processes));
  if (values.output === undefined) return;
  writeFileSync(values.output, `${JSON.stringify(report, rounded, 1)}\n`);
  console.log(`written to ${values.output}`);
}

const records = (count: number): Uint8Array =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) =>
      encodeCifar10Record(
        i % 10,
        Uint8Array.from({ length: 3 * 32 * 32 }, (_pixel, j) => (i * 7 + j * 13) % 256),
      ),
    ),
  );

/** Trains, and keeps what the runs came to. */
class Trainer {
  adapter = 'unknown';
  private runs = 0;

  constructor(
    private readonly folder: string,
    private readonly set: readonly string[],
    private readonly steps: number | null,
  ) {}

  /** One round of one batch size and number of processes. */
  async measure({ batch, processes, one, ranks, independent, times }: Measured): Promise<void> {
    expectThat(batch % (2 * processes) === 0, `${batch} images cannot be cut into pairs for ${processes} ranks`);
    const each = Math.max(1, Math.floor(availableParallelism() / processes));
    const steps = this.steps ?? Math.max(LEAST_STEPS, Math.ceil(IMAGES / batch));
    one.push((await this.train(batch, steps)).imagesPerSecond);
    const together = await this.train(batch, steps, each, '--processes', String(processes));
    ranks.push(together.imagesPerSecond);
    times.push(together.ranks!);
    const apart = await Promise.all(
      Array.from({ length: processes }, () => this.train(batch / processes, steps, each)),
    );
    independent.push(apart.reduce((sum, { imagesPerSecond }) => sum + imagesPerSecond, 0));
  }

  private async train(batch: number, steps: number, threads?: number, ...rest: string[]): Promise<Figures> {
    const output = join(this.folder, String(this.runs++));
    const set = [...SETTINGS, `data.batchSize=${batch}`, ...this.set].flatMap((setting) => ['--set', setting]);
    const run = ['--recipe', 'deit-ti-imagenet', '--data', this.folder, '--steps', String(steps), '--output', output]; // prettier-ignore
    // The software adapter takes all cores unless it is told how many.
    const environment: Record<string, string> = threads === undefined ? {} : { LP_NUM_THREADS: String(threads) };
    await runWell(['train', ...run, ...set, ...rest], environment);
    const figures = JSON.parse(readFileSync(join(output, 'result.json'), 'utf8')) as Figures;
    this.adapter = figures.adapter;
    return figures;
  }
}

function summarize({ batch, processes, times, ...speeds }: Measured): Row {
  const [one, ranks, independent] = [speeds.one, speeds.ranks, speeds.independent].map(median);
  const share = (name: 'waiting' | 'moving' | 'copying'): number => median(times.map((own) => own[name]));
  return {
    batch,
    processes,
    rounds: times.length,
    one,
    ranks,
    independent,
    ranksToOne: ranks / one,
    ranksToIndependent: ranks / independent,
    waiting: share('waiting'),
    summing: share('moving'),
    copying: share('copying'),
  };
}

const COLUMNS = ['images a step', 'ranks', 'one process', 'ranks together', 'independent', 'to one', 'to independent', 'waiting', 'summing', 'copies']; // prettier-ignore

function table(rows: readonly Row[]): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const cells = rows.map((row) => [
    row.batch,
    row.processes,
    ...[row.one, row.ranks, row.independent].map((speed) => speed.toFixed(1)),
    ...[row.ranksToOne, row.ranksToIndependent].map((ratio) => ratio.toFixed(3)),
    ...[row.waiting, row.summing, row.copying].map(percent),
  ]);
  return [COLUMNS, COLUMNS.map(() => '--:'), ...cells].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

/** From which batch on, and for all larger ones, the goals are met. */
function reached(rows: readonly Row[], processes: number): string {
  const own = rows.filter((row) => row.processes === processes).sort((a, b) => a.batch - b.batch);
  const from = (isMet: (row: Row) => boolean): string => {
    const met = own.slice(own.findLastIndex((row) => !isMet(row)) + 1);
    return met.length > 0 ? `from ${met[0].batch} images a step on` : 'at no batch measured';
  };
  return (
    `${processes} ranks reach ${GOALS.one} of one process ${from((row) => row.ranksToOne >= GOALS.one)}, ` +
    `${GOALS.independent} of independent processes ${from((row) => row.ranksToIndependent >= GOALS.independent)}`
  );
}

const rounded = (_key: string, value: unknown): unknown =>
  typeof value === 'number' ? Number(value.toPrecision(4)) : value;
