/**
 * `npm run bench -- --ranks [batch sizes] [--rounds N] [--steps N] [--processes N] [--set key=value]`: images a second of one process, of
 * several ranks, and of as many processes that know nothing of each other, on the same cores, in interleaved rounds.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { RankTimes } from '../../deit/parallel/rank-times.ts';
import { runWell } from '../drills/drill.ts';

/** What is trained: DeiT-Ti on images of 64 pixels, without augmentation that the processor would have to do. */
const SETTINGS = [
  'model.name=deit_tiny_patch16_224 img_size=64 num_classes=10',
  ...[
    'augment.policy=null',
    'augment.repeats=1',
    'data.workers=0',
    'run.evaluateEvery=0',
    'run.checkpointEvery=1000000',
  ],
];

interface Figures {
  readonly imagesPerSecond: number;
  readonly ranks: RankTimes | null;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

export async function measureRanks(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '5' },
      steps: { type: 'string', default: '12' },
      processes: { type: 'string', default: '2' },
      set: { type: 'string', multiple: true, default: [] },
    },
  });
  const [rounds, processes] = [Number(values.rounds), Number(values.processes)];
  const folder = mkdtempSync(join(tmpdir(), 'deit-bench-ranks-'));
  let runs = 0;
  const train = async (batch: number, rest: readonly string[], threads?: number): Promise<Figures> => {
    const output = join(folder, String(runs++));
    const set = [...SETTINGS, `data.batchSize=${batch}`, ...values.set].flatMap((setting) => ['--set', setting]);
    // The software adapter takes all cores unless it is told how many.
    const environment: Record<string, string> = threads === undefined ? {} : { LP_NUM_THREADS: String(threads) };
    await runWell(
      [
        'train',
        '--recipe',
        'deit-ti-imagenet',
        '--data',
        'cifar10-sample',
        '--steps',
        values.steps,
        '--output',
        output,
        ...set,
        ...rest,
      ],
      environment,
    );
    return JSON.parse(readFileSync(join(output, 'result.json'), 'utf8')) as Figures;
  };
  const each = Math.max(1, Math.floor(availableParallelism() / processes));
  console.log(
    `${cpus()[0].model}, ${availableParallelism()} cores; ${processes} ranks with ${each} of them each; medians of ${rounds} rounds`,
  );
  console.log(
    'batch   one process   ranks   independent   ranks / one   ranks / independent   waiting   summing   copies',
  );
  try {
    for (const batch of positionals.length > 0 ? positionals.map(Number) : [16, 32, 64, 128]) {
      const speeds: [one: number, ranks: number, independent: number][] = [];
      const times: RankTimes[] = [];
      for (let round = 0; round < rounds; round++) {
        const one = await train(batch, []);
        const ranks = await train(batch, ['--processes', String(processes)], each);
        const apart = await Promise.all(Array.from({ length: processes }, () => train(batch / processes, [], each)));
        const independent = apart.reduce((sum, { imagesPerSecond }) => sum + imagesPerSecond, 0);
        speeds.push([one.imagesPerSecond, ranks.imagesPerSecond, independent]);
        times.push(ranks.ranks!);
      }
      const [one, ranks, independent] = [0, 1, 2].map((i) => median(speeds.map((speed) => speed[i])));
      const share = (name: 'waiting' | 'moving' | 'copying'): string =>
        `${(100 * median(times.map((own) => own[name]))).toFixed(1)} %`;
      const figures = [
        one.toFixed(1),
        ranks.toFixed(1),
        independent.toFixed(1),
        (ranks / one).toFixed(3),
        (ranks / independent).toFixed(3),
      ];
      console.log([batch, ...figures, share('waiting'), share('moving'), share('copying')].join('   '));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
