/**
 * What the tests of runs on several ranks start: `deit` for one order after the other, in one launch, with a fault where an
 * order wants it. What every rank said to each goes into a file beside that of the orders, and on to the launcher.
 *
 *     train.ts ORDERS.json
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../deit/cli/run.ts';
import type { Communicator } from '../../deit/parallel/communicator.ts';
import { openRanks } from '../../deit/parallel/node/ranks.ts';
import { MpiRanks } from '../../deit/parallel/node/mpi.ts';
import { Evaluator } from '../../deit/train/evaluate.ts';
import { DataListing } from '../../deit/train/node/data-listing.ts';
import { TrainStep } from '../../deit/train/step.ts';
import type { StepUnderWay, TrainStepOptions } from '../../deit/train/step.ts';
import type { Batch } from '../../deit/train/batches.ts';
import { VariantTable } from '../../engine/variants.ts';
import { STRUCK } from '../support/train-ranks-orders.ts';
import type { Fault, Order, Said } from '../support/train-ranks-orders.ts';

const [path] = process.argv.slice(2);
const orders = JSON.parse(readFileSync(path, 'utf8')) as Order[];
const ranks = await openRanks();
let order: Order = orders[0];
let hasStruck = false;

/** The fault of the order at hand, where this is its place. */
const faultAt = (place: Fault['at']): Fault | null => {
  const { fault } = order;
  return fault?.at === place && (fault.rank === ranks.rank || ranks.size === 1) ? fault : null;
};

/** What strikes in a step, or elsewhere. */
const strikes: Readonly<Record<string, (options?: TrainStepOptions) => void>> = {
  throw: () => {
    throw new Error('thrown by the test');
  },
  lost: (options) => options!.engine.loseDevice(),
  kill: () => void process.kill(process.pid, 'SIGKILL'),
  SIGUSR2: () => void process.kill(process.pid, 'SIGUSR2'),
  SIGTERM: () => void process.kill(process.pid, 'SIGTERM'),
  SIGINT: () => void process.kill(process.pid, 'SIGINT'),
  // The next checkpoint is written to a device that is always full.
  full: () => {
    const folder = join(order.args[order.args.indexOf('--output') + 1], 'checkpoints');
    const { at } = order.fault!;
    mkdirSync(folder, { recursive: true });
    symlinkSync('/dev/full', join(folder, `student-${String(at).padStart(8, '0')}.safetensors.${process.pid}.tmp`));
  },
};

/** What strikes the images of a slice, by its place in the step, whichever rank computes it. */
const spoils: Readonly<Record<string, (images: Float32Array) => void>> = {
  nan: (images) => void (images[7] = NaN),
  // Finite, and beyond f16 in the first product.
  huge: (images) => void (images[0] = 1e30),
};

const { begin } = TrainStep.prototype as unknown as { begin: (this: TrainStep, ...args: unknown[]) => StepUnderWay };
TrainStep.prototype.begin = function (batches: readonly Batch[], step, ...rest) {
  const { options } = this as unknown as { options: TrainStepOptions };
  // The plan of memory runs steps too, and wishes nothing.
  const fault = rest.length > 1 ? faultAt(step + 1) : null;
  if (fault) {
    process.stderr.write(`${STRUCK}\n`);
    const slice = batches.find(({ number }) => number % options.accumulate === fault.rank);
    if (fault.kind in spoils) spoils[fault.kind](slice!.images);
    else strikes[fault.kind](options);
  }
  return begin.call(this, batches, step, ...rest);
};

const { run: evaluate } = Evaluator.prototype as unknown as { run: (this: Evaluator) => ReturnType<Evaluator['run']> };
Evaluator.prototype.run = function () {
  const { ranks: own } = this as unknown as { ranks: Communicator };
  const fault = faultAt('evaluation');
  // Once, and not in the plan of memory, which is each rank's own.
  if (fault && own === ranks && !hasStruck) {
    hasStruck = true;
    strikes[fault.kind]();
  }
  return evaluate.call(this);
};

const listingOf: typeof DataListing.of = DataListing.of.bind(DataListing);
DataListing.of = async (data) => {
  const fault = faultAt('start');
  if (fault && fault.kind in strikes) strikes[fault.kind]();
  const listing = await listingOf(data);
  return fault?.kind === 'data' ? Object.assign(listing, { sha256: 'that of other data' }) : listing;
};

const { export: exported } = VariantTable.prototype as unknown as {
  export: (this: VariantTable) => ReturnType<VariantTable['export']>;
};
VariantTable.prototype.export = function () {
  const own = exported.call(this);
  return faultAt('start')?.kind === 'variants' ? { ...own, choices: { ...own.choices, sum: 'other' } } : own;
};

const { versions } = process;
const setVersions = (value: NodeJS.ProcessVersions): void =>
  void Object.defineProperty(process, 'versions', { value, configurable: true });

/** All that is written meanwhile. */
const written = { out: '', err: '' };
for (const [stream, name] of [
  [process.stdout, 'out'],
  [process.stderr, 'err'],
] as const) {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  stream.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    written[name] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    return write(chunk, ...rest);
  };
}

// MPI ends once, and here after the last order.
const { close } = MpiRanks.prototype as unknown as { close: (this: unknown) => Promise<void> };
MpiRanks.prototype.close = function () {
  return this.barrier();
};
const said: Said[] = [];
for (order of orders) {
  hasStruck = false;
  Object.assign(written, { out: '', err: '' });
  if (faultAt('start')?.kind === 'version') setVersions({ ...versions, node: '99.0.0' });
  const code = await run([...order.args, ...(order.own?.[ranks.rank] ?? [])]);
  setVersions(versions);
  process.exitCode = undefined;
  // Those of a run that has been stopped would end the process at the next one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2']) process.removeAllListeners(signal);
  said.push({ code, ...written });
  writeFileSync(`${path}.${ranks.rank}`, JSON.stringify(said));
}
process.exitCode = said.at(-1)?.code;
if (ranks.size > 1) await close.call(ranks);
