// node child.mjs <library file> <variant> [case filter]: measures one library in this process, one JSON line a case.
// The environment sets REPS (samples of a case, 5) and BUDGET (ms of sampling a case beyond those, 600).
import { readFileSync } from 'node:fs';
import { cases } from './cases.mjs';

const [file, variant, filter = ''] = process.argv.slice(2);
const REPS = Number(process.env.REPS ?? 5);
const BUDGET = Number(process.env.BUDGET ?? 600);
const MOST = 25;
/** Cores that other processes may use during a sample that counts. */
const QUIET = 0.15;
const SAMPLED_ELEMENTS = 400;

const say = (row) => console.log(`@${JSON.stringify(row)}`);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Jiffies (10 ms) of processor time that everything but this process has used so far. */
function othersJiffies() {
  const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const own = process.cpuUsage();
  return user + nice + system + irq + softirq + steal - (own.user + own.system) / 1e4;
}

const peakRssMB = () => Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024);

/** Largest error over the largest reference value. Throws if it is no rounding error. */
function check(name, work, out, references) {
  let error = 0;
  let magnitude = 0;
  const compare = (found, expected) => {
    error = Math.max(error, Number.isFinite(found) ? Math.abs(found - expected) : Infinity);
    magnitude = Math.max(magnitude, Math.abs(expected));
  };
  if (references[name]) references[name].forEach(([i, expected]) => compare(out[i], expected));
  else {
    if (out.length !== work.size) throw new Error(`wrong size ${out.length}`);
    for (let k = 0; k < SAMPLED_ELEMENTS; k++) {
      const i = Math.floor(((k + 0.37) / SAMPLED_ELEMENTS) * work.size);
      compare(out[i], work.ref(i));
    }
  }
  if (!(error / magnitude < 1e-3))
    throw new Error(`wrong result, relative error ${(error / magnitude).toPrecision(2)}`);
  return error / magnitude;
}

/** Samples until enough quiet ones are in; where the machine is never quiet, the quietest. */
async function takeSamples(sample) {
  await sample();
  const all = [];
  let quiet = [];
  const end = performance.now() + BUDGET;
  const wantsMore = () =>
    quiet.length < REPS ? all.length < 4 * REPS : performance.now() < end && quiet.length < MOST;
  while (wantsMore()) {
    const before = othersJiffies();
    const start = performance.now();
    const ms = await sample();
    const elapsed = Math.max(10, performance.now() - start);
    const others = ((othersJiffies() - before) * 10) / elapsed;
    all.push([others, ms]);
    // A short sample spans few jiffies: it passes unless it was clearly disturbed.
    if (others < QUIET || (ms < 60 && others * ms < 25)) quiet.push(ms);
  }
  const isNoisy = quiet.length < REPS;
  if (isNoisy)
    quiet = all
      .sort((a, b) => a[0] - b[0])
      .slice(0, REPS)
      .map(([, ms]) => ms);
  return { ms: median(quiet), min: Math.min(...quiet), max: Math.max(...quiet), samples: quiet.length, isNoisy };
}

async function measure(name, library, counters, references) {
  const work = cases[name]();
  if (!library.ops[work.op]) return { case: name, missing: true };
  const pipelines = counters.pipeline;
  const start = performance.now();
  const run = await library.ops[work.op](work);
  let handle = await run();
  const value = await library.scalar(handle);
  const firstMs = performance.now() - start;
  const error = check(name, work, work.op === 'train' ? [value] : await library.read(handle), references);
  library.free(handle);

  // Dispatches of the read-back itself do not count.
  handle = await run();
  await library.scalar(handle);
  const idle = { ...counters };
  await library.scalar(handle);
  const readBack = { dispatch: counters.dispatch - idle.dispatch, submit: counters.submit - idle.submit };
  library.free(handle);

  const losses = [];
  let dispatches = null;
  let submits = null;
  const samples = await takeSamples(async () => {
    const before = { ...counters };
    const began = performance.now();
    const result = await run();
    const last = await library.scalar(result);
    const ms = performance.now() - began;
    dispatches = counters.dispatch - before.dispatch - readBack.dispatch;
    submits = counters.submit - before.submit - readBack.submit;
    if (work.op === 'train') losses.push(Number(last.toFixed(5)));
    library.free(result);
    return ms;
  });
  return {
    case: name,
    ...samples,
    firstMs,
    pipelines: counters.pipeline - pipelines,
    error,
    dispatches,
    submits,
    gflops: work.flop ? work.flop / samples.ms / 1e6 : null,
    losses: work.op === 'train' ? losses.slice(0, 3) : undefined,
    gpuMiB: counters.maxBytes / 2 ** 20,
    rssMB: peakRssMB(),
  };
}

const chosen = Object.keys(cases).filter((name) => new RegExp(filter).test(name));
if (chosen.length === 0) process.exit(0);
const references = JSON.parse(readFileSync(new URL('references.json', import.meta.url), 'utf8'));
const library = await import(new URL(file, import.meta.url));
const { name: label, version, adapter, counters } = await library.init(variant);
const uncounted = { dispatch: NaN, submit: NaN, pipeline: NaN, maxBytes: NaN };
say({ name: label, version, adapter });
for (const name of chosen) {
  try {
    say(await measure(name, library, counters ?? uncounted, references));
  } catch (error) {
    if (process.env.DEBUG) console.error(error);
    say({
      case: name,
      failure: String(error?.message ?? error)
        .split('\n')[0]
        .slice(0, 200),
    });
  }
  await library.endCase?.();
}
// Dawn's threads would keep the process alive.
process.exit(0);
