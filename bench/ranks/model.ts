/**
 * `npm run bench -- --ranks-model`: what data-parallel training on 2 to 256 GPUs would come to, from parts that were measured and
 * bandwidths that are stated. Prints the table of deit/SCALING.md. Nothing here was run on a GPU.
 */
import { summarizeModel } from '../../deit/models/registry.ts';
import { GradientExchange } from '../../deit/parallel/gradient-exchange.ts';
import type { Wire } from '../../deit/parallel/gradient-exchange.ts';

export interface Cluster {
  readonly gpusPerMachine: number;
  /** Of the one network card of a machine, in gigabits a second. */
  readonly gigabits: number;
  /** Bytes a second at which ranks of one machine add up, in pieces of 2 MB: 6.9 GB/s measured with Open MPI in C. */
  readonly localRate: number;
  /** Between the memory of the GPU and of the host, bytes a second, either way (PCIe 4.0 x16, of 32 GB/s). */
  readonly copyRate: number;
  /** Seconds of one message between machines. */
  readonly latency: number;
}

export interface Work {
  readonly gradientBytes: number;
  /** Images of a step on one GPU, and how many it computes a second. */
  readonly images: number;
  readonly imagesPerSecond: number;
  readonly bucketBytes: number;
  readonly wire: Wire;
}

export const CLUSTER: Cluster = { gpusPerMachine: 8, gigabits: 100, localRate: 6.9e9, copyRate: 20e9, latency: 20e-6 };
const BUCKET = 25 * 2 ** 20;
/** Part of a step that the backward pass takes: two of three products. */
const BACKWARD = 2 / 3;

/** Images a second of `ranks` GPUs, as a part of `ranks` times those of one. */
export function efficiency(
  ranks: number,
  { gradientBytes, images, imagesPerSecond, bucketBytes, wire }: Work,
  cluster: Cluster,
): number {
  const step = images / imagesPerSecond;
  const bytes = wire === 'f16' ? gradientBytes / 2 : gradientBytes;
  // Dawn has one queue, so what is copied on it is not hidden: out, and back in.
  const copies = ranks === 1 ? 0 : (2 * bytes) / cluster.copyRate;
  const local = Math.min(ranks, cluster.gpusPerMachine);
  const machines = Math.ceil(ranks / cluster.gpusPerMachine);
  const buckets = Math.max(1, Math.ceil(bytes / bucketBytes));
  const summing =
    GradientExchange.wireBytes(bytes, local, 'f32') / cluster.localRate +
    GradientExchange.wireBytes(bytes, machines, 'f32') / ((cluster.gigabits * 1e9) / 8) +
    buckets * 2 * (machines - 1) * cluster.latency;
  // The last bucket leaves when the backward pass is over.
  const hidden = Math.min(summing - summing / buckets, BACKWARD * step);
  return step / (step + copies + summing - hidden);
}

const MODELS = [
  { name: 'deit_tiny_distilled_patch16_224', imagesPerSecond: 2500 },
  { name: 'deit_small_distilled_patch16_224', imagesPerSecond: 1000 },
  { name: 'deit_base_distilled_patch16_224', imagesPerSecond: 350 },
];
const SIZES = [2, 8, 16, 32, 64, 128, 256];

export function printModel(): void {
  const percent = (share: number): string => `${Math.round(100 * share)}`;
  const settings: readonly [what: string, images: (ranks: number) => number, gigabits: number][] = [
    ['128 images a GPU, 100 Gb/s', () => 128, 100],
    ['128 images a GPU, 10 Gb/s', () => 128, 10],
    ['32 images a GPU, 100 Gb/s', () => 32, 100],
    ['1024 images in all, 100 Gb/s', (ranks) => 1024 / ranks, 100],
  ];
  console.log(`| model | setting | ${SIZES.join(' | ')} |`);
  console.log(`| --- | --- | ${SIZES.map(() => '--:').join(' | ')} |`);
  for (const { name, imagesPerSecond } of MODELS) {
    const gradientBytes = 4 * summarizeModel(name).parameters;
    for (const [what, images, gigabits] of settings) {
      const cells = SIZES.map((ranks) =>
        (['f32', 'f16'] as const)
          .map((wire) =>
            efficiency(
              ranks,
              { gradientBytes, images: images(ranks), imagesPerSecond, bucketBytes: BUCKET, wire },
              { ...CLUSTER, gigabits },
            ),
          )
          .map(percent)
          .join(' / '),
      );
      console.log(`| ${name.split('_')[1]}, ${(gradientBytes / 1e6).toFixed(0)} MB | ${what} | ${cells.join(' | ')} |`);
    }
  }
}
