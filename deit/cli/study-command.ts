import { Option } from 'commander';
import type { Command } from 'commander';

const collect = (value: string, earlier: string[]): string[] => [...earlier, value];

/** `deit study` with its options. */
export function addStudyCommand(program: Command): void {
  program
    .command('study')
    .argument('[study]', "one of the paper's comparisons (--list shows them), or a JSON file of the same form")
    .description(
      "the paper's comparisons: trains all rows with all seeds, and says what differs, with 95 % intervals, beside the paper's values",
    )
    .option('--list', 'show the studies with their rows')
    .option('--dry-run', 'show the runs, their steps, memory and expected time on this adapter, and run nothing')
    .option('--recipe <file>', 'recipe file, or the name of one that ships (default: the one that the study names)')
    .option('--set <key=value>', 'override one setting of the recipe in all runs; may be repeated', collect, [])
    .option('--data <paths>', 'data sets, with commas between them')
    .option('--students <models>', 'models with key=value options, with commas between them')
    .option('--teachers <models>', 'models, or files of weights, with commas between them')
    .option('--rows <names>', 'rows of the study to run, with commas between them (default: all)')
    .option('--seeds <numbers>', 'one run of every row with each seed (default: 0,1,2)')
    .option('--epochs <n>', 'length of a run: same as --set schedule.epochs=...')
    .option('--steps <n>', 'length of a run: same as --set schedule.steps=...')
    .option('--minutes <n>', 'about so long a run: as many steps in all as the slowest makes in this time')
    .option('--weak-teachers', 'go on with teachers that are no better than a student without teacher')
    .option('--output <folder>', 'folder of studies, which share their runs (default: studies)')
    .option('--resume [folder]', 'go on with the study in this folder, or with that of --output if it was begun')
    .addOption(new Option('--json', 'end with one line of JSON for programs'))
    .addHelpText(
      'after',
      [
        '\nExamples:',
        '  $ deit study --list',
        '  $ deit study distillation --dry-run',
        '  $ deit study distillation --minutes 4 --seeds 0,1,2',
        '  $ deit study --resume studies/distillation',
        '  $ deit study teachers --recipe deit-b-distilled-imagenet --data imagenet --teachers regnety_040,regnety_160',
      ].join('\n'),
    )
    .action(async (study: string | undefined, _options, command: Command) =>
      (await import('./study.ts')).study(study, { ...command.optsWithGlobals() }),
    );
}
