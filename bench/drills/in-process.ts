/** Node only. Small trainings inside the drill's own process, where a drill has to reach into the engine. */
import { createEngine } from '../../engine/node.ts';
import type { Engine, EngineOptions } from '../../engine/node.ts';
import { RunFolder, nestRecipe, parseRecipe, resolveRecipe, trainRecipe } from '../../deit/node.ts';
import type { StepProgress, Overrides, TrainResult } from '../../deit/node.ts';
import { SMALL } from './drill.ts';

/** The small recipe, without worker threads, as overrides. */
export const smallOverrides = (): Overrides => ({
  ...parseRecipe(JSON.stringify(SMALL), 'the small recipe'),
  'data.workers': 0,
});

export interface InProcess {
  readonly overrides: Overrides;
  readonly folder: RunFolder;
  readonly resume?: boolean;
  readonly engineOptions?: EngineOptions;
  readonly onEngine?: (engine: Engine) => void;
  readonly onStep?: (progress: StepProgress, engine: Engine) => void;
  readonly onSay?: (line: string) => void;
}

/** Opens a folder for a new run, or that of an earlier one. */
export async function openFolder(path: string, overrides: Overrides, resume = false): Promise<RunFolder> {
  if (resume) return RunFolder.open(path);
  const folder = RunFolder.create('drill', path);
  const recipe = nestRecipe(resolveRecipe(overrides));
  await folder.writeJson('config.json', { version: '', command: [], name: 'drill', recipe });
  return folder;
}

/** Trains on an engine of its own. */
export async function trainInProcess(options: InProcess): Promise<TrainResult> {
  const { overrides, folder, resume, onStep, onSay } = options;
  const recipe = resolveRecipe(overrides);
  const engine = await createEngine({ seed: recipe['run.seed'], ...options.engineOptions });
  options.onEngine?.(engine);
  const reporter = {
    say: (line: string) => onSay?.(line),
    begin: () => undefined,
    step: (_role: string, progress: StepProgress) => onStep?.(progress, engine),
    evaluated: () => undefined,
    end: () => undefined,
  };
  try {
    return await trainRecipe(engine, { recipe, folder, reporter, resume });
  } finally {
    engine.close();
  }
}
