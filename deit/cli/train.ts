import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { DeitError } from '../../engine/index.ts';
import { assetPath } from '../data/node/index.ts';
import { nestRecipe, parseAssignment, parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import type { Overrides } from '../recipe/resolve.ts';
import { settings } from '../recipe/settings.ts';
import type { Accuracy } from '../train/evaluate.ts';
import type { FitProgress } from '../train/fit.ts';
import { RunFolder } from '../train/node/run-folder.ts';
import { trainRecipe } from '../train/node/training-run.ts';
import type { Reporter, Role, TrainResult } from '../train/node/training-run.ts';
import { Progress, formatDuration, percent } from './progress.ts';
import { shippedRecipes } from './recipes.ts';
import { packageVersion, parseNumber, withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface TrainOptions extends GlobalOptions {
  recipe: string;
  set: string[];
  data?: string;
  epochs?: string;
  steps?: string;
  minutes?: string;
  seed?: string;
  output?: string;
}

/** `deit train`. */
export async function train(options: TrainOptions): Promise<void> {
  const { name, overrides } = await readRecipe(options.recipe);
  const recipe = resolveRecipe(overrides, ...options.set.map(parseAssignment), shortcuts(options));
  const folder = RunFolder.create(name, options.output);
  try {
    await withEngine({ ...options, seed: recipe['run.seed'] }, async (engine, say) => {
      await folder.writeJson('config.json', {
        version: packageVersion(),
        command: process.argv.slice(2),
        recipe: nestRecipe(recipe),
      });
      await folder.writeJson('adapter.json', engine.adapter);
      say(`recipe: ${name} (all settings in ${folder.file('config.json')})`);
      for (const [section, values] of Object.entries(nestRecipe(recipe, true))) {
        const shown = Object.entries(values).map(([key, value]) => `${key}=${String(value)}`);
        say(`  ${section}: ${shown.join('  ')}`);
      }
      const result = await trainRecipe(engine, recipe, folder, new ConsoleReporter(say));
      summarize(result, say);
      if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    });
  } finally {
    folder.close();
  }
}

async function readRecipe(nameOrFile: string): Promise<{ name: string; overrides: Overrides }> {
  const shipped = shippedRecipes();
  if (shipped.includes(nameOrFile)) {
    const file = assetPath('recipes', `${nameOrFile}.json`);
    return { name: nameOrFile, overrides: parseRecipe(await readFile(file, 'utf8'), file) };
  }
  if (!existsSync(nameOrFile)) {
    throw new DeitError('unknown-name', 'There is no recipe of this name, nor a file.', {
      found: nameOrFile,
      expected: `a file, or one of ${shipped.join(', ')}`,
    });
  }
  return {
    name: basename(nameOrFile).replace(/\.jsonc?$/, ''),
    overrides: parseRecipe(await readFile(nameOrFile, 'utf8'), nameOrFile),
  };
}

/** Options that stand for a setting. */
function shortcuts(options: TrainOptions): Overrides {
  const overrides: Record<string, string | number | null> = {};
  if (options.data !== undefined) overrides['data.path'] = options.data;
  if (options.seed !== undefined) overrides['run.seed'] = parseNumber(options.seed, '--seed');
  // A length given by hand replaces the recipe's time limit.
  if (options.epochs !== undefined || options.steps !== undefined)
    overrides['schedule.minutes'] = settings['schedule.minutes'].default;
  if (options.epochs !== undefined) overrides['schedule.epochs'] = parseNumber(options.epochs, '--epochs');
  if (options.steps !== undefined) overrides['schedule.steps'] = parseNumber(options.steps, '--steps');
  if (options.minutes !== undefined) overrides['schedule.minutes'] = parseNumber(options.minutes, '--minutes');
  return overrides;
}

class ConsoleReporter implements Reporter {
  private bar: Progress | null = null;

  constructor(readonly say: (line: string) => void) {}

  begin(role: Role, steps: number): void {
    this.bar = new Progress(role.padEnd(7), steps);
  }

  step(_role: Role, progress: FitProgress): void {
    const { step, steps, epoch, imagesPerSecond, secondsLeft } = progress;
    const losses = [progress.lossLabel, progress.lossDistillation].filter((loss) => loss !== null);
    const right = [progress.accuracy, progress.accuracyDistillation].filter((share) => share !== null);
    const text = [
      `epoch ${epoch + 1}`,
      `${imagesPerSecond.toFixed(1)} images/s`,
      `loss ${losses.map((loss) => loss.toFixed(3)).join(' + ')}`,
      `accuracy ${right.map(percent).join(', ')}`,
      `${formatDuration(secondsLeft)} left`,
    ];
    this.bar?.setTotal(steps);
    this.bar?.update(step, text.join('  '));
  }

  end(role: Role, accuracy: Accuracy): void {
    this.bar?.stop();
    this.bar = null;
    const heads = [`class ${percent(accuracy.class)}`];
    if (accuracy.distillation !== null) {
      heads.push(`distillation ${percent(accuracy.distillation)}`, `average ${percent(accuracy.average)}`);
    }
    this.say(`${role}: held-out accuracy on ${accuracy.images} images: ${heads.join(', ')}`);
  }
}

function summarize(
  { accuracy, steps, seconds, imagesPerSecond, runFolder }: TrainResult,
  say: (line: string) => void,
): void {
  const rows: [string, number | null][] = [
    ['teacher', accuracy.teacher],
    ['class head', accuracy.class],
    ['distillation head', accuracy.distillation],
    ['average of both', accuracy.distillation === null ? null : accuracy.average],
  ];
  say('\nheld-out accuracy');
  for (const [name, share] of rows) if (share !== null) say(`  ${name.padEnd(18)} ${percent(share).padStart(7)}`);
  say(
    `${steps} student steps at ${imagesPerSecond.toFixed(1)} images/s, ${formatDuration(seconds)} in all; everything is in ${runFolder}`,
  );
}
