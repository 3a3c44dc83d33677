import type { Split } from '../data/index.ts';
import { describeModel } from '../models/registry.ts';
import { resolveRecipe } from '../recipe/resolve.ts';
import { Evaluator } from '../train/evaluate.ts';
import { headClasses } from '../train/node/class-names.ts';
import { evaluationOf } from '../weights/model-card.ts';
import { openMeasured, tellData } from '../train/node/sources.ts';
import type { HeadScores, Tally } from '../train/tally.ts';
import { heldOutImages } from './held-out.ts';
import type { HeldOutOptions } from './held-out.ts';
import { alignClasses } from '../weights/classes.ts';
import { buildModel } from '../train/node/open-model.ts';
import type { ModelOptions } from './model-files.ts';
import { percent } from './progress.ts';
import { parseBatchSize, parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface EvaluateOptions extends GlobalOptions, HeldOutOptions, ModelOptions {
  split?: Split;
  batchSize: string;
  unreadable: 'fatal' | 'skip';
  maxUnreadable: string;
}

/** Up to so many classes are listed one by one, with their confusions. */
const LISTED = 30;
/** Up to so many the JSON has the whole table of confusions, and always so many of the most frequent mistakes. */
const MOST_IN_TABLE = 200;
const MOST_MISTAKES = 1000;

/** `deit evaluate`: how every head does on the held-out images of a data set, or on all of one that is not divided. */
export async function evaluate(options: EvaluateOptions): Promise<void> {
  const batchSize = parseBatchSize(options.batchSize);
  // The seed is that of the held-out images; evaluation draws nothing.
  await withEngine({ ...options, seed: 0 }, async (engine, say) => {
    const { model, spec, card } = await buildModel(engine, options, say);
    const measured = await heldOutImages(card, options);
    const recipe = resolveRecipe(measured.recipe, {
      'data.unreadable': options.unreadable,
      'data.maxUnreadable': parseNumber(options.maxUnreadable, '--max-unreadable'),
    });
    const { imageSize } = describeModel(spec);
    const chosen = { part: options.split, divided: measured.isDivided };
    const sources = await openMeasured(recipe, evaluationOf(card, imageSize), chosen);
    try {
      tellData(sources.notes, say);
      const { split } = sources;
      if (split !== 'whole') say(measured.describe(split));
      const { rows, names, notes } = alignClasses({
        head: headClasses(card),
        count: model.classes,
        wanted: sources.classes,
        policy: 'subset',
        where: options.weights,
      });
      for (const note of notes) say(note);
      const batches = sources.evaluation(Math.min(batchSize, sources.validation.length));
      const evaluator = new Evaluator(engine, model, batches, imageSize);
      const tally = await evaluator.tally((label) => rows![label]);
      evaluator.release();
      say(`${spec} on ${tally.images} images of ${sources.name}`);
      print(tally, names, say);
      for (const line of sources.problems.lines()) say(line);
      if (options.json) {
        const perClass = tally.perClass().map((scores, index) => ({ class: index, name: names[index], ...scores }));
        const report = {
          model: spec,
          data: sources.name,
          heldOut: split === 'whole' ? null : measured.facts(split),
          images: tally.images,
          skipped: sources.problems.skipped.size,
          accuracy: tally.accuracy(),
          heads: tally.heads(),
          perClass,
          confusion: tally.classes <= MOST_IN_TABLE ? tally.confusion() : null,
          mistakes: tally.mistakes().slice(0, MOST_MISTAKES),
        };
        process.stdout.write(`${JSON.stringify(report)}\n`);
      }
    } finally {
      await sources.close();
    }
  });
}

function print(tally: Tally, names: readonly string[], say: (line: string) => void): void {
  const { class: cls, distillation, average } = tally.heads();
  // Among five classes the right one is always one of the five likeliest.
  const isTelling = tally.classes > 5;
  const line = (head: string, { top1, top5, loss }: HeadScores): void =>
    say(
      `  ${head.padEnd(18)} top-1 ${percent(top1)}  ${isTelling ? `top-5 ${percent(top5)}  ` : ''}loss ${loss.toFixed(4)}`,
    );
  line('class head', cls);
  if (distillation) {
    line('distillation head', distillation);
    line('average of both', average);
  }
  const rows = tally.perClass().flatMap((scores, c) => (scores.images > 0 ? [{ ...scores, c }] : []));
  if (rows.length > LISTED) {
    const most = tally.mistakes().slice(0, LISTED);
    if (most.length > 0) say('\n  most frequent mistakes');
    for (const { truth, answer, images } of most) say(`  ${String(images).padStart(6)}  ${names[truth]} taken for ${names[answer]}`); // prettier-ignore
    return;
  }
  const width = Math.max(...rows.map(({ c }) => names[c].length));
  const mistakes = tally.mistakes();
  say(`\n  ${'class'.padEnd(width)}  images  recall   precision  taken for`);
  for (const { c, images, recall, precision } of rows) {
    const others = mistakes.flatMap(({ truth, answer, images: count }) =>
      truth === c ? [`${names[answer]} ${count}`] : [],
    );
    const share = (value: number | null): string => (value === null ? '-' : percent(value)).padStart(7);
    say(
      `  ${names[c].padEnd(width)}  ${String(images).padStart(6)}  ${share(recall)}  ${share(precision)}  ${others.slice(0, 5).join(', ')}`,
    );
  }
}
