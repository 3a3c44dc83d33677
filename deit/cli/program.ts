import { Command, Option } from 'commander';
import { addDataCommands } from './data-commands.ts';
import { addStudyCommand } from './study-command.ts';
import { DEFAULT_RECIPE } from './defaults.ts';
import { WEIGHTS, examples, findsLr, json, takesModel } from './shared-options.ts';
import { addServingCommands } from './serving-commands.ts';
import { detectLaunch } from '../parallel/node/launcher.ts';
import { packageVersion } from '../../engine/node/package.ts';
import { settings } from '../recipe/settings.ts';

/** Commands that take more than a moment. */
const LONG = new Set([
  'train',
  'finetune',
  'evaluate',
  'predict',
  'attention',
  'plan',
  'profile',
  'doctor',
  'study',
  'serve',
]);

/** `deit`, its commands and their options. Actions are imported when they run, so that help and errors come at once. */
export function buildProgram(): Command {
  const program = new Command('deit')
    .description('Train, evaluate and inspect DeiT vision transformers on WebGPU.')
    .option('--adapter <name>', 'auto, swiftshader, runtime (of Deno), or part of an adapter name (also DEIT_ADAPTER)')
    .option('--memory <size>', 'most GPU memory to use, for example 2GiB')
    .showSuggestionAfterError()
    // Subcommands inherit that: the exit code is for `run` to give.
    .exitOverride()
    .showHelpAfterError('(see deit --help)')
    .configureHelp({ showGlobalOptions: true })
    .version(packageVersion())
    // What a command needs takes a moment to load: this says at once that something happens.
    .hook('preAction', (_program, command) => {
      // Of several ranks the first one says it.
      const isFirst = (detectLaunch()?.rank ?? 0) === 0;
      if (LONG.has(command.name()) && isFirst) process.stderr.write(`deit ${packageVersion()}: ${command.name()}\n`);
    });

  const processes = (): Option =>
    new Option(
      '--processes <n>',
      'train on so many processes of this machine, one a GPU, started by mpirun (or start the command by mpirun or srun yourself)',
    );

  findsLr(program.command('train'))
    .description(
      'train a model; without options, a RegNetY teacher and then DeiT-Ti on the CIFAR-10 sample, in minutes',
    )
    .option(
      '--recipe <file>',
      `recipe file, or the name of one that ships (deit recipes lists them; default: ${DEFAULT_RECIPE})`,
    )
    .option('--set <key=value>', 'override one setting of the recipe; may be repeated', collect, [])
    .option(
      '--data <path>',
      'data set: folder of images, CIFAR binaries, tar shards or list file (same as --set data.path=...)',
    )
    .option('--epochs <n>', 'same as --set schedule.epochs=...')
    .option('--steps <n>', 'same as --set schedule.steps=...')
    .option('--minutes <n>', 'same as --set schedule.minutes=...')
    .option('--seed <n>', 'same as --set run.seed=...')
    .option('--output <folder>', 'run folder (default: runs/<recipe>-<number>)')
    .option(
      '--resume <folder>',
      'go on with the run in this folder, as it was begun; `auto` with --output begins one if there is none',
    )
    .option(
      '--allow-changed-data',
      'with --resume: go on though the data, the start weights or the teacher have changed, and say what has',
    )
    .addOption(processes())
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit train',
        'deit train --data photos --set optim.lr=1e-4',
        'deit train --data photos --find-lr',
        'deit train --recipe deit-ti-imagenet --data imagenet',
      ),
    )
    .action(async (_options, command: Command) => (await import('./train.ts')).train({ ...command.optsWithGlobals() }));

  findsLr(program.command('finetune'))
    .description('teach a pretrained model the classes of your own images; without --weights, the DeiT-Ti that ships')
    .requiredOption(
      '--data <path>',
      'folder with a folder of images for each class, CIFAR binaries, tar shards or list file',
    )
    .option(
      '--weights <path>',
      'what to start from: file, run folder or checkpoint; its head is kept for classes of the same names',
      'shipped',
    )
    .option(
      '--model <spec>',
      'model name with key=value options, such as img_size=384; default: what the checkpoint says',
    )
    .option('--teacher <path>', 'weights of a teacher that knows these classes: distils from it (hard labels)')
    .option('--recipe <file>', 'recipe file, or the name of one that ships', 'finetune')
    .option('--set <key=value>', 'override one setting of the recipe; may be repeated', collect, [])
    .option('--epochs <n>', 'same as --set schedule.epochs=...')
    .option('--steps <n>', 'same as --set schedule.steps=...')
    .option('--minutes <n>', 'same as --set schedule.minutes=...')
    .option('--seed <n>', 'same as --set run.seed=...')
    .option('--output <folder>', 'run folder (default: runs/<recipe>-<number>)')
    .addOption(processes())
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit finetune --data photos',
        'deit finetune --data photos --epochs 8 --set optim.freezeBlocks=0 --set optim.lr=1e-4',
        'deit finetune --data photos --teacher runs/finetune-1',
        'deit train --resume runs/finetune-1',
      ),
    )
    .action(async (_options, command: Command) =>
      (await import('./finetune.ts')).finetune({ ...command.optsWithGlobals() }),
    );

  program
    .command('plan')
    .description('GPU memory by part, largest binding, and largest batch of a training, without running it')
    .option(
      '--recipe <file>',
      `recipe file, or the name of one that ships (deit recipes lists them; default: ${DEFAULT_RECIPE})`,
    )
    .option('--set <key=value>', 'override one setting of the recipe; may be repeated', collect, [])
    .option('--data <path>', 'data set (same as --set data.path=...)')
    .option('--processes <n>', 'for one of so many processes, with what they send each other')
    .option('--bandwidth <rate>', 'of their network, in gigabits a second; default: some usual ones')
    .option(
      '--device <kind>',
      'for a device that need not be there, such as nvidia or amd-rdna3; a wrong name lists them',
    )
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit plan --recipe deit-ti-imagenet --data imagenet --memory 8GiB',
        'deit plan --recipe deit-ti-imagenet --processes 8 --bandwidth 25',
        'deit plan --recipe deit-ti-imagenet --device nvidia --memory 24GiB',
      ),
    )
    .action(async (_options, command: Command) => (await import('./plan.ts')).plan({ ...command.optsWithGlobals() }));

  takesModel(program.command('evaluate'))
    .description('top-1, top-5, loss, classes and confusions of a checkpoint on held-out images, for every head')
    .option('--data <path>', 'data set; default: the one that the checkpoint was trained on')
    .addOption(
      new Option(
        '--split <part>',
        'part of the data to measure on; default: val, else test, and all of data that has no parts',
      ).choices(['train', 'val', 'test']),
    )
    .option('--val-fraction <x>', 'part of every class that was held out; default: as in the training')
    .option('--seed <n>', 'seed by which it was drawn; default: as in the training')
    .option('--val-list <file>', 'list file of the held-out images; default: as in the training')
    .option('--batch-size <n>', 'images at a time', '64')
    .addOption(
      new Option('--unreadable <policy>', 'what to do with an image that cannot be read')
        .choices(['fatal', 'skip'])
        .default('fatal'),
    )
    .option(
      '--max-unreadable <x>',
      'with skip: part of the images that may be left out (data.maxUnreadable)',
      String(settings['data.maxUnreadable'].default),
    )
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit evaluate --weights runs/quick-demo-1',
        'deit evaluate --weights runs/quick-demo-1/student.safetensors',
      ),
    )
    .action(async (_options, command: Command) =>
      (await import('./evaluate.ts')).evaluate({ ...command.optsWithGlobals() }),
    );

  addServingCommands(program);

  program
    .command('report')
    .argument('<run>', 'run folder')
    .description('write the report of a run again: report.html, which needs no network, and metrics.csv')
    .option('--output <file>', 'where to write the page (default: report.html in the run folder)')
    .addOption(json())
    .addHelpText('after', examples('deit report runs/quick-demo-1'))
    .action(async (run: string, _options, command: Command) =>
      (await import('./report.ts')).report(run, { ...command.optsWithGlobals() }),
    );

  program
    .command('compare')
    .argument('<run...>', 'run folders')
    .description('runs side by side: a table here, curves and differing settings as a page')
    .option('--output <file>', 'where to write the page', 'comparison.html')
    .addOption(json())
    .addHelpText('after', examples('deit compare runs/quick-demo-1 runs/quick-demo-2'))
    .action(async (runs: string[], _options, command: Command) =>
      (await import('./compare.ts')).compare(runs, { ...command.optsWithGlobals() }),
    );

  takesModel(program.command('attention'))
    .argument('<image>', 'image file')
    .description('draw where the class and distillation tokens look, block by block and by rollout, over the photo')
    .option('--output <folder>', 'where to put the pictures (default: <image>-attention)')
    .addOption(json())
    .addHelpText('after', examples('deit attention photo.jpg', 'deit attention --weights runs/quick-demo-1 photo.jpg'))
    .action(async (image: string, _options, command: Command) =>
      (await import('./attention.ts')).attention(image, { ...command.optsWithGlobals() }),
    );

  program
    .command('summary')
    .argument('<model...>', 'model name, then key=value options')
    .description('layers, shapes, parameters and multiply-adds of a model')
    .addOption(json())
    .addHelpText(
      'after',
      examples('deit summary deit_tiny_distilled_patch16_224', 'deit summary regnety_160 num_classes=10'),
    )
    .action(async (model: string[], _options, command: Command) =>
      (await import('./summary.ts')).summary(model.join(' '), { ...command.optsWithGlobals() }),
    );

  const tensors = (command: Command): Command =>
    command
      .option('--model <spec>', 'model name with key=value options; default: what the weights say')
      .requiredOption('--weights <path>', WEIGHTS)
      .option('--ema', 'the moving average of the weights')
      .requiredOption('--input <file>', 'safetensors with `images` [B,3,H,W] f32, already normalised')
      .requiredOption('--output <file>', 'safetensors to write')
      .addOption(json());

  tensors(program.command('logits'))
    .description('evaluation output of a model, to compare with another framework')
    .addHelpText(
      'after',
      examples(
        'deit logits --model deit_tiny_patch16_224 --weights w.safetensors --input in.safetensors --output out.safetensors',
      ),
    )
    .action(async (_options, command: Command) =>
      (await import('./logits.ts')).logits({ ...command.optsWithGlobals() }),
    );

  tensors(program.command('gradients'))
    .description('training loss and the gradient of every parameter, to compare with another framework')
    .addOption(
      new Option('--distillation <type>', 'distillation term').choices(['none', 'soft', 'hard']).default('none'),
    )
    .option('--alpha <x>', 'weight of the distillation term', '0.5')
    .option('--tau <x>', 'temperature', '1')
    .addOption(
      new Option('--kl-scaling <rule>', 'divide the KL by the batch, or by all elements')
        .choices(['batchmean', 'all'])
        .default('all'),
    )
    .option('--smoothing <x>', 'label smoothing', '0')
    .option('--drop-path <x>', 'stochastic depth', '0')
    .action(async (_options, command: Command) =>
      (await import('./gradients.ts')).gradients({
        ...command.optsWithGlobals(),
        given: Object.keys(command.opts()).filter((name) => command.getOptionValueSource(name) === 'cli'),
      }),
    );

  program
    .command('profile')
    .argument('<model...>', 'model name, then key=value options')
    .description('time by kernel of a forward pass or a training step, with FLOP/s and bytes/s')
    .addOption(new Option('--mode <mode>', 'what to run').choices(['forward', 'train']).default('train'))
    .option('--batch-size <n>', 'images at a time', '8')
    .addOption(new Option('--precision <type>', 'what products work on').choices(['f32', 'f16']).default('f32'))
    .option('--trace <file>', 'write a trace for ui.perfetto.dev')
    .option('--tune', 'measure which kernel variants are fastest here, and profile with those; shows before and after')
    .addOption(json())
    .addHelpText(
      'after',
      examples(
        'deit profile deit_tiny_distilled_patch16_224 --batch-size 8',
        'deit profile deit_small_patch16_224 --mode forward --tune',
      ),
    )
    .action(async (model: string[], _options, command: Command) =>
      (await import('./profile.ts')).profile(model.join(' '), { ...command.optsWithGlobals() }),
    );

  program
    .command('kernel')
    .argument('[operator]', 'operator, for example layer_norm; without one, all are listed with their variants')
    .description(
      'the WGSL of an operator as a device would run it, with bindings, uniforms, grid and cost; needs no GPU',
    )
    .option('--problem <json>', 'sizes and options of the problem; default: the example in the list')
    .addOption(
      new Option('--device <kind>', 'the device that kernels choose their variant for')
        .choices(['gpu', 'cpu', 'tensor-cores', 'any'])
        .default('gpu'),
    )
    .option('--backward', 'the kernels of the gradients')
    .option('--variant <name>', 'a variant of the kernels instead of the one that would be chosen, such as plain')
    .addOption(new Option('--json', 'as one line of JSON for programs'))
    .addHelpText(
      'after',
      examples(
        'deit kernel',
        `deit kernel layer_norm --problem '{"rows":8,"width":192}' --device cpu --backward`,
        'deit kernel softmax --variant plain',
      ),
    )
    .action(async (operator: string | undefined, _options, command: Command) =>
      (await import('./kernel.ts')).kernel(operator, { ...command.optsWithGlobals() }),
    );

  program
    .command('doctor')
    .description(
      'find the adapter, run a kernel on it, check the result, print limits and features, GPUs and MPI; under mpirun, or ' +
        'with --processes, time a sum over all processes',
    )
    .addOption(processes())
    .addOption(json())
    .action(async (_options, command: Command) =>
      (await import('./doctor.ts')).doctor({ ...command.optsWithGlobals() }),
    );

  program
    .command('recipes')
    .description('list the recipes that ship, or every setting of a recipe')
    .argument('[name]', 'print this recipe in full')
    .option('--schema', 'print the JSON schema of recipe files')
    .option('--reference', 'print the reference of recipes and settings in Markdown')
    .action(async (name: string | undefined, options: { schema?: boolean; reference?: boolean }) =>
      (await import('./recipes.ts')).recipes(name, options),
    );

  addDataCommands(program);
  addStudyCommand(program);

  return program;
}

const collect = (value: string, earlier: string[]): string[] => [...earlier, value];
