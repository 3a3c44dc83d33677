import { f32, input, launch, output } from '../../engine/index.ts';
import type { Engine, Kernel } from '../../engine/index.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { INSTALL_LAYER, canChooseCards, cardOf, findCards, takeCard } from '../parallel/node/cards.ts';
import type { Card } from '../parallel/node/cards.ts';
import { checkMpi, timeSum } from '../parallel/node/check.ts';
import type { MpiCheck } from '../parallel/node/check.ts';
import { onRanks } from './ranks.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';
import { styled } from './style.ts';

/** y[i] = scale * x[i] + i over one workgroup: exact in f32, so the check below allows no error at all. */
const probe: Kernel<{ scale: number }> = ({ scale }) => [
  launch({
    name: 'doctor.probe',
    bindings: [input('x'), output('y')],
    uniforms: { scale: f32(scale) },
    wgsl: `@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = params.scale * x[id.x] + f32(id.x); }`,
    grid: [1, 1, 1],
    cost: { flops: 128, bytes: 512 },
  }),
];

interface DoctorOptions extends GlobalOptions {
  processes?: string;
}

export interface DoctorReport {
  adapter: Engine['adapter'];
  subgroupSize: number;
  limits: Record<string, number>;
  dispatch: { ok: boolean; firstMs: number; roundTripMs: number };
  node: string;
  platform: string;
  /** With the value of DRI_PRIME by which the local rank of the same number takes its card; null: what is found first. */
  cards: readonly (Card & { readonly choice: string | null })[];
  mpi: MpiCheck;
  /** Over all ranks; null in one process. */
  sum: { ranks: number; bytes: number; seconds: number } | null;
}

/** `deit doctor`: finds the adapter, dispatches a kernel, checks its result, prints limits and features, GPUs and MPI. */
export const doctor = (options: DoctorOptions): Promise<void> =>
  onRanks(options.processes, (ranks) => doctorOn(ranks, options));

async function doctorOn(ranks: Communicator, options: DoctorOptions): Promise<void> {
  const sum = ranks.size > 1 ? { ranks: ranks.size, ...(await timeSum(ranks)) } : null;
  const quiet = ranks.rank > 0;
  const cards = findCards().map((card, localRank, all) => ({ ...card, choice: cardOf(localRank, all) }));
  takeCard(ranks);
  await withEngine({ ...options, quiet }, async (engine, say) => {
    const report: DoctorReport = { ...(await examine(engine)), cards, mpi: await checkMpi(), sum };
    const { adapter, limits, dispatch } = report;
    const rows: [string, string][] = [
      ['node', `${report.node} on ${report.platform}`],
      ['vendor', `${adapter.vendor} ${adapter.architecture}`],
      ['chosen', adapter.choice],
      ['subgroups', report.subgroupSize > 0 ? `${report.subgroupSize} lanes` : 'not of one size, or none'],
      ['features', adapter.features.join(', ')],
      ...Object.entries(limits).map(([name, value]): [string, string] => [name, value.toLocaleString('en-US')]),
      ['first dispatch', `${dispatch.firstMs.toFixed(1)} ms (compiles)`],
      ['round trip', `${dispatch.roundTripMs.toFixed(2)} ms`],
      ...clusterRows(report),
      ['check', dispatch.ok ? 'a kernel ran and its result is right' : 'A KERNEL RAN AND ITS RESULT IS WRONG'],
    ];
    const width = Math.max(...rows.map(([name]) => name.length));
    for (const [name, value] of rows) say(`  ${styled('bold', name.padEnd(width))}  ${value}`);
    if (options.json && !quiet) process.stdout.write(`${JSON.stringify(report)}\n`);
    if (!dispatch.ok) process.exitCode = 1;
  });
}

/** What a training on several ranks would use here. */
function clusterRows({ cards, mpi, sum }: DoctorReport): [string, string][] {
  const take = (choice: string | null): string =>
    choice === null
      ? 'what is found first'
      : canChooseCards()
        ? `DRI_PRIME=${choice}`
        : `what is found first: ${INSTALL_LAYER}`;
  const rate = sum && `${(1000 * sum.seconds).toFixed(1)} ms, ${(sum.bytes / sum.seconds / 1e9).toFixed(2)} GB/s`;
  return [
    ['GPUs', cards.map(({ address, model }) => `${address} (${model})`).join(', ') || 'none on the PCI bus'],
    ...cards.map(({ choice }, localRank): [string, string] => [`local rank ${localRank}`, take(choice)]),
    ['MPI library', mpi.library ? `${mpi.library}, by its ${mpi.abi} interface` : 'none'],
    ['MPI launcher', mpi.launcher ?? 'none'],
    ...(mpi.problem === null ? [] : [['MPI', mpi.problem] as [string, string]]),
    ['sum of 24 MB', sum ? `${rate} on ${sum.ranks} ranks` : 'with --processes 2, or under mpirun'],
  ];
}

async function examine(engine: Engine): Promise<Omit<DoctorReport, 'cards' | 'mpi' | 'sum'>> {
  const values = Array.from({ length: 64 }, (_, i) => i * 0.25 - 3);
  const x = engine.tensor(values);
  const run = async (): Promise<ArrayLike<number>> => {
    const y = engine.empty([64]);
    engine.run('doctor', probe, { scale: 2 }, { x, y });
    return y.read();
  };
  const start = performance.now();
  const result = await run();
  const firstMs = performance.now() - start;
  const again = performance.now();
  await run();
  const roundTripMs = performance.now() - again;
  const { limits } = engine;
  return {
    adapter: engine.adapter,
    subgroupSize: engine.profile.subgroupSize,
    limits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    },
    dispatch: { ok: values.every((value, i) => result[i] === 2 * value + i), firstMs, roundTripMs },
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}
