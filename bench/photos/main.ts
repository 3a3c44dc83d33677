/**
 * The shipped DeiT-Ti on photographs, from JPEG file to class name: top-1 and top-5.
 *
 *   npx tsx bench/photos/main.ts FOLDER
 *
 * FOLDER holds images and index.tsv with a header and the columns `file` and `imagenet_index` (github.com/nottombrown/imagenet-stubs
 * has 16 such images; with index.tsv made of its file names).
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

interface Prediction {
  readonly file: string;
  readonly top5: readonly { class: number; name: string }[];
}

function readIndex(folder: string): Map<string, number> {
  const [header, ...rows] = readFileSync(join(folder, 'index.tsv'), 'utf8').trimEnd().split(/\r?\n/);
  const columns = header.split('\t');
  const [file, label] = ['file', 'imagenet_index'].map((name) => columns.indexOf(name));
  return new Map(rows.map((row) => row.split('\t')).map((cells) => [cells[file], Number(cells[label])]));
}

const [folder] = process.argv.slice(2);
if (!folder) {
  process.stderr.write('usage: npx tsx bench/photos/main.ts FOLDER\n');
  process.exit(1);
}
const labels = readIndex(folder);
const files = [...labels.keys()].map((file) => join(folder, file));
const command = ['--import', 'tsx', 'deit/cli/main.ts', 'predict', '--json', ...files];
const { stdout, status } = spawnSync(process.execPath, command, {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
if (status !== 0) process.exit(1);
const predictions = stdout.trim().split('\n').map((line) => JSON.parse(line) as Prediction); // prettier-ignore
const ranks = predictions.map(({ file, top5 }) => {
  const rank = top5.findIndex(({ class: index }) => index === labels.get(basename(file)));
  process.stdout.write(
    `${basename(file).padEnd(28)} ${rank === 0 ? 'right ' : rank > 0 ? 'top 5 ' : 'WRONG '} ${top5[0].name}\n`,
  );
  return rank;
});
const within = (places: number): number => ranks.filter((rank) => rank >= 0 && rank < places).length;
process.stdout.write(`${within(1)} of ${ranks.length} right at top-1, ${within(5)} at top-5\n`);
