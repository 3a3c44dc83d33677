/**
 * Drills: each puts one promise about long runs to the test and prints one line of figures.
 *
 *     npm run drill -- NAME [--count N] [--seed N]
 *
 * Exit code 0 if the promise held, 1 if it was broken.
 */
import { Command, InvalidArgumentError } from 'commander';
import type { Drill } from './drill.ts';
import { inFolder, messageOf } from './drill.ts';

const drills: Readonly<Record<string, () => Promise<Drill>>> = {
  resume: async () => (await import('./resume.ts')).resume,
  kill: async () => (await import('./kill.ts')).kill,
  signals: async () => (await import('./signals.ts')).signals,
  'device-loss': async () => (await import('./device-loss.ts')).deviceLoss,
  determinism: async () => (await import('./determinism.ts')).determinism,
  soak: async () => (await import('./soak.ts')).soak,
  plan: async () => (await import('./planned-memory.ts')).plan,
  nan: async () => (await import('./nan.ts')).nan,
  'hostile-files': async () => (await import('./hostile-files.ts')).hostileFiles,
  ranks: async () => (await import('./ranks.ts')).ranks,
  lock: async () => (await import('./lock.ts')).lock,
  arguments: async () => (await import('./arguments.ts')).argumentLists,
  'full-disk': async () => (await import('./full-disk.ts')).fullDisk,
};

const wholeNumber = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It is a whole number.');
  return Number(text);
};

await new Command('drill')
  .argument('<name>', `one of ${Object.keys(drills).join(', ')}`)
  .option('--count <n>', 'repetitions, where a drill repeats something (default: the full number)', wholeNumber)
  .option('--seed <n>', 'seed of the random moments and mutations', wholeNumber, 1)
  .action(async (name: string, options: { count?: number; seed: number }, command: Command) => {
    if (!Object.hasOwn(drills, name)) {
      command.error(`There is no drill "${name}"; there are ${Object.keys(drills).join(', ')}.`);
    }
    const drill = await drills[name]();
    const began = performance.now();
    try {
      const figures = await inFolder((folder) =>
        drill({ count: options.count ?? null, seed: options.seed, folder, say: (line) => console.error(line) }),
      );
      console.log(`${name}: held; ${figures}; ${((performance.now() - began) / 1000).toFixed(0)} s`);
    } catch (error) {
      console.log(`${name}: BROKEN; ${messageOf(error)}`);
      process.exitCode = 1;
    }
  })
  .parseAsync();
