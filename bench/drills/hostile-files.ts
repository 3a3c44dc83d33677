import { fuzz, targets } from './hostile.ts';
import type { DrillOptions } from './drill.ts';
import { expectThat } from './drill.ts';

const INPUTS = 22_000;
/** Growth of resident memory, in bytes, that hostile files may cause. */
const MOST_MEMORY = 2 ** 30;

/**
 * Mutated safetensors files, checkpoints, recipes, CIFAR binaries, images and list files, half of them changed beyond what
 * the first check sees: each is either read as something sound or refused by a `DeitError`, quickly.
 */
export async function hostileFiles({ folder, count, seed, say }: DrillOptions): Promise<string> {
  const inputs = count ?? INPUTS;
  const all = await targets(folder);
  const before = process.memoryUsage().rss;
  const lines: string[] = [];
  let [total, deep, refused] = [0, 0, 0];
  for (const target of all) {
    const done = await fuzz(target, Math.ceil((inputs * target.share) / 100), seed);
    const codes = [...done.codes].map(([code, times]) => `${code} ${times}`).join(', ');
    lines.push(`${target.name}: ${done.inputs} inputs, ${done.accepted} read, refused: ${codes || 'none'}`);
    say(lines.at(-1)!);
    total += done.inputs;
    deep += done.deep;
    refused += done.inputs - done.accepted;
    expectThat(done.codes.size > 0 || done.inputs < 100, `${target.name}: nothing was refused`);
  }
  for (const target of all) await target.close?.();
  const grown = process.memoryUsage().rss - before;
  expectThat(grown < MOST_MEMORY, `resident memory grew by ${grown} bytes`);
  return `${total} mutated inputs, ${deep} of them past the header, ${refused} refused; none crashed or hung, and nothing broken was accepted`;
}
