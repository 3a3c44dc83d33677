import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { differingTensors, expectThat, runDeit, runWell, smallRecipe, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';

/** A checkpoint of the small model has 1.1 MB: three fit, and a fourth is begun before the oldest is removed. */
const DISK = 4 * 1024 * 1024;
const FULL = /\[file-unwritable\][^]*ENOSPC/;

/**
 * A disk that fills up, and a place that cannot be written: a clear error with the last good checkpoint intact, or, with
 * run.onSaveError=continue, training to the end. Needs root for the small disk.
 */
export async function fullDisk({ folder, say }: DrillOptions): Promise<string> {
  const recipe = smallRecipe(folder, { run: { evaluateEvery: 0, checkpointEvery: 2, keep: 20 } });
  const train = (run: string, ...rest: string[]): string[] => [
    'train',
    '--recipe',
    recipe,
    '--steps',
    '12',
    '--output',
    run,
    ...rest,
  ];
  const whole = join(folder, 'whole');
  await runWell(train(whole));
  const expected = weightsOf(whole);

  const disk = join(folder, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK}`, 'tmpfs', disk]);
  let saved: number;
  try {
    const run = join(disk, 'run');
    const { code, output } = await runDeit(train(run));
    expectThat(
      code === 1 && FULL.test(output),
      `a full disk gives file-unwritable and exit code 1, not ${code}:\n${output}`,
    );
    say(output.slice(output.indexOf('[file-unwritable]')));
    const kept = checkpoints(run);
    saved = kept.length;
    expectThat(saved > 0, 'no checkpoint was written before the disk was full');
    expectThat(leftovers(run).length === 0, 'the unfinished file was left behind');
    for (const name of kept) {
      const differing = await differingTensors(join(run, 'checkpoints', name), join(whole, 'checkpoints', name));
      expectThat(differing.length === 0, `${name} is not what it was: ${differing.join(', ')}`);
    }
    // With room again, the run goes on from there.
    rmSync(join(run, 'checkpoints', kept[0]));
    execFileSync('mount', ['-o', 'remount,size=64m', disk]);
    await runWell(['train', '--resume', run]);
    expectThat(weightsOf(run) === expected, 'resumed after the full disk, the final weights differ');
    // Whoever chose to go on is told of every checkpoint that was not written.
    rmSync(run, { recursive: true });
    execFileSync('mount', ['-o', `remount,size=${DISK}`, disk]);
    const going = await runDeit(train(run, '--set', 'run.onSaveError=continue'));
    const unsaved = going.output.match(/not written, going on/g)?.length ?? 0;
    expectThat(unsaved > 0, `no checkpoint failed:\n${going.output}`);
    expectThat(/student 12\/12/.test(going.output), `the training did not go on to its end:\n${going.output}`);
  } finally {
    execFileSync('umount', ['-l', disk]);
  }

  // Root may write everywhere: what cannot be written is where a file is in the way.
  const occupied = join(folder, 'occupied');
  writeFileSync(occupied, '');
  const there = await runDeit(train(join(occupied, 'run')));
  expectThat(there.code === 1 && there.output.includes('[file-unwritable]'), there.output);
  rmSync(join(whole, 'checkpoints'), { recursive: true });
  rmSync(join(whole, 'result.json'));
  writeFileSync(join(whole, 'checkpoints'), '');
  const blocked = await runDeit(['train', '--resume', whole]);
  expectThat(blocked.code === 1 && blocked.output.includes('[file-unreadable]'), blocked.output);
  return `full after ${saved} checkpoints, all of them intact, resumed to the same weights; the other run went on to its end`;
}

const checkpoints = (run: string): string[] =>
  existsSync(join(run, 'checkpoints'))
    ? readdirSync(join(run, 'checkpoints'))
        .filter((name) => name.endsWith('.safetensors'))
        .sort()
    : [];
const leftovers = (run: string): string[] =>
  readdirSync(join(run, 'checkpoints')).filter((name) => name.endsWith('.tmp'));
