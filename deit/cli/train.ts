import { describeLoading } from '../data/index.ts';
import type { Communicator } from '../parallel/communicator.ts';
import { nestRecipe } from '../recipe/resolve.ts';
import type { Recipe } from '../recipe/settings.ts';
import { quoted } from '../shell.ts';
import { MODEL_FILES } from '../train/node/find-weights.ts';
import { Interrupted } from '../train/node/train-model.ts';
import type { TrainResult } from '../train/node/training-run.ts';
import { microBatch } from '../train/setup.ts';
import { openRunOver } from './open-run.ts';
import { formatDuration, percent, tell as tellTerminal } from './progress.ts';
import { cardAdvice, takeCard } from '../parallel/node/cards.ts';
import { describeTimes } from '../parallel/rank-times.ts';
import { bindingAdvice, onRanks } from './ranks.ts';
import type { FindLrCommand } from './find-lr.ts';
import type { TrainOptions } from './recipe-options.ts';
import { runTraining } from './run-training.ts';
import { onSignals } from './signals.ts';
import { outliveReaders } from './streams.ts';
import { styled } from './style.ts';

/** `deit train`, on every rank where there are several. */
export const train = async (options: TrainOptions & Partial<FindLrCommand>): Promise<void> =>
  isFindingLr(options)
    ? (await import('./find-lr.ts')).findLearningRate(options)
    : onRanks(options.processes, (ranks) => trainOn(ranks, options));

const isFindingLr = (options: Partial<FindLrCommand>): options is FindLrCommand => options.findLr !== undefined;

async function trainOn(ranks: Communicator, options: TrainOptions): Promise<void> {
  // Rank 0 speaks for all.
  const quiet = ranks.rank > 0;
  const tell = quiet ? (): void => undefined : tellTerminal;
  const opened = await openRunOver(ranks, options);
  if ('finished' in opened) {
    tell(`this run is finished, and is left as it is: deit report ${quoted(opened.finished.runFolder)} shows it`);
    return quiet ? undefined : conclude(opened.finished, options, tell);
  }
  const { name, recipe, folder } = opened;
  const stop = new AbortController();
  const caught = onSignals(stop, { quiet: ranks.size > 1 });
  outliveReaders();
  try {
    // Before the adapter is opened, which takes a while.
    tell(`recipe: ${name} (all settings in ${folder.file('config.json')})`);
    for (const [section, values] of Object.entries(nestRecipe(recipe, true))) {
      const shown = Object.entries(values).map(([key, value]) => `${key}=${String(value)}`);
      tell(`  ${section}: ${shown.join('  ')}`);
    }
    if (ranks.size > 1) tell(describeRanks(ranks, recipe));
    for (const advice of [bindingAdvice(ranks), cardAdvice(ranks)]) if (advice) tell(advice);
    takeCard(ranks);
    const { signal } = stop;
    const result = await runTraining(opened, {
      ranks,
      session: options,
      signal,
      allowChangedData: options.allowChangedData,
    });
    if (quiet) return;
    conclude(result, options, tell);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    tell(`${error.message}; go on with: deit train --resume ${quoted(folder.path)}`);
    // Not every rank has got the signal.
    const exitCode = Float64Array.of(caught.exitCode);
    await ranks.max(exitCode);
    [process.exitCode] = exitCode;
  } finally {
    // Other ranks wait for rank 0 to write its report: a signal that a launcher passes on must not end them meanwhile.
    if (ranks.size === 1) caught.release();
    folder.close({ removeUnused: true });
  }
}

function describeRanks({ size }: Communicator, recipe: Recipe): string {
  const slices = recipe['data.accumulate'];
  const each = microBatch(recipe);
  return `ranks: ${size}, each computes ${slices / size} of the ${slices} slices of ${each} images that make a step`;
}

function conclude(result: TrainResult, { json }: TrainOptions, say: (line: string) => void): void {
  summarize(result, say);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
}

function summarize(
  { accuracy, ema, best, steps, seconds, imagesPerSecond, dataWait, loading, ranks, runFolder }: TrainResult,
  say: (line: string) => void,
): void {
  const rows: [string, number | null][] = [
    ['teacher', accuracy.teacher],
    ['class head', accuracy.class],
    ['distillation head', accuracy.distillation],
    ['average of both', accuracy.distillation === null ? null : accuracy.average],
    ['moving average', ema?.average ?? null],
  ];
  say(styled('bold', '\nheld-out accuracy'));
  for (const [name, share] of rows) {
    if (share !== null) say(`  ${name.padEnd(18)} ${styled('green', percent(share).padStart(7))}`);
  }
  const made = loading && describeLoading(loading);
  say(
    `${steps} student steps at ${imagesPerSecond.toFixed(1)} images/s, ${percent(dataWait)} of the time waiting for data${made ? ` (${made.parts})` : ''}`,
  );
  if (ranks) say(describeTimes(ranks));
  if (best) say(`best along the way: ${percent(best.accuracy)} after step ${best.step}, in ${MODEL_FILES.best}`);
  say(`trained in ${formatDuration(seconds)}; everything is in ${runFolder}`);
}
