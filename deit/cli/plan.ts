import { formatBytes } from '../../engine/index.ts';
import type { Engine } from '../../engine/node.ts';
import { openSources, tellData } from '../train/node/sources.ts';
import { describeModel } from '../models/registry.ts';
import { planTraining, refuseUnfit } from '../train/training-plan.ts';
import { GradientExchange } from '../parallel/gradient-exchange.ts';
import type { Wire } from '../parallel/gradient-exchange.ts';
import { withSlices } from './open-run.ts';
import { MOST_PROCESSES } from './ranks.ts';
import { parseNumber, withDryEngine, withEngine } from './session.ts';
import { recipeOf } from './recipe-options.ts';
import type { TrainOptions } from './recipe-options.ts';

interface PlanOptions extends TrainOptions {
  /** Gigabits a second. */
  bandwidth?: string;
  /** The device to plan for, if not the one that is here. */
  device?: string;
}

/** Gigabits a second of usual networks. */
const RATES = [10, 25, 100, 400];

/** `deit plan`: what a training will need, without running it. */
export async function plan(options: PlanOptions): Promise<void> {
  const processes = parseNumber(options.processes ?? '1', '--processes', {
    least: 1,
    most: MOST_PROCESSES,
    whole: true,
  });
  const rates =
    options.bandwidth === undefined ? RATES : [parseNumber(options.bandwidth, '--bandwidth', { least: 1e-3 })];
  const { name, recipe: asked, given } = await recipeOf(options);
  const recipe = withSlices(asked, given, processes);
  const { device } = options;
  const session = { ...options, seed: recipe['run.seed'] };
  const work = async (engine: Engine, say: (line: string) => void): Promise<void> => {
    const sources = await openSources(recipe, describeModel(recipe['model.name']).imageSize);
    tellData(sources.notes, say);
    const found = await planTraining(engine, recipe, sources.classes.length, { search: true, processes }).finally(() =>
      sources.close(),
    );
    say(`recipe: ${name}, ${found.batch} images a micro-batch`);
    const rows = { ...found.parts, 'peak of GPU memory': found.peakBytes };
    for (const [part, bytes] of Object.entries(rows)) say(`  ${part.padEnd(20)} ${formatBytes(bytes).padStart(10)}`);
    const budget = Number.isFinite(found.budget) ? formatBytes(found.budget) : 'no limit known';
    say(`  ${'allowed'.padEnd(20)} ${budget.padStart(10)}`);
    const { bytes, where } = found.largestBinding;
    say(`largest binding: ${formatBytes(bytes)} of ${formatBytes(found.largestBindingAllowed)}, ${where}`);
    say(`dispatches a step: ${found.dispatches}`);
    say(`largest micro-batch that fits: ${found.largestBatch} images`);
    const wire = wireOf(found.parts.gradients, processes, recipe['parallel.wire'], rates);
    for (const line of describeWire(wire)) say(line);
    if (options.json) process.stdout.write(`${JSON.stringify({ ...found, wire })}\n`);
    refuseUnfit(found, recipe);
  };
  await (device === undefined ? withEngine(session, work) : withDryEngine(device, session, work));
}

/** What a step moves between ranks; null in one process. */
interface WirePlan {
  readonly processes: number;
  readonly format: Wire;
  /** That each rank sends in a step, and receives, by a ring. */
  readonly bytes: number;
  /** By gigabits a second: how long that takes where nothing else is on the way. */
  readonly seconds: Readonly<Record<string, number>>;
}

function wireOf(gradientBytes: number, processes: number, format: Wire, rates: readonly number[]): WirePlan | null {
  if (processes === 1) return null;
  const bytes = GradientExchange.wireBytes(gradientBytes, processes, format);
  return {
    processes,
    format,
    bytes,
    seconds: Object.fromEntries(rates.map((rate) => [rate, (8 * bytes) / (rate * 1e9)])),
  };
}

function describeWire(wire: WirePlan | null): string[] {
  if (!wire) return [];
  const times = Object.entries(wire.seconds).map(([rate, s]) => `${(1000 * s).toFixed(1)} ms at ${rate} Gb/s`);
  const moved = `each of ${wire.processes} ranks sends and receives ${formatBytes(wire.bytes)} a step (${wire.format})`;
  return [`between ranks: ${moved}: ${times.join(', ')}, as far as the backward pass does not hide it`];
}
