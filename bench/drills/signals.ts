import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expectThat, runDeit, runWell, smallRecipe, startDeit, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';

const STEPS = 300;

/**
 * Ctrl-C, SIGTERM and SIGHUP finish the step, save and exit with 130, 143 and 129; a run that goes on from there ends with the weights
 * of an unbroken one. A second run in the folder of a running one is refused.
 */
export async function signals({ folder }: DrillOptions): Promise<string> {
  const recipe = smallRecipe(folder);
  const run = join(folder, 'run');
  const args = ['train', '--recipe', recipe, '--steps', String(STEPS), '--output', run];
  await runWell(args);
  const expected = weightsOf(run);
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    rmSync(run, { recursive: true });
    const first = await startDeit(args);
    await first.said(/student +\d+\//);
    const second = runDeit(['train', '--resume', run]);
    const refused = await Promise.race([second, first.finished.then(() => null)]);
    if (refused) {
      expectThat(refused.code === 1, `a second run in the same folder was not refused:\n${refused.output}`);
      expectThat(refused.output.includes('Another run is writing to this folder'), refused.output);
    }
    first.child.kill(signal);
    const { code, output } = await first.finished;
    expectThat(refused !== null, 'the run was over before a second one could be refused');
    expectThat(code === exitCode, `${signal} gives exit code ${exitCode}, not ${code}:\n${output}`);
    expectThat(readdirSync(join(run, 'checkpoints')).length === 1, 'no checkpoint was saved on the way out');
    await runWell(['train', '--resume', run]);
    expectThat(weightsOf(run) === expected, `resumed after ${signal}, the final weights differ`);
  }
  return 'SIGINT 130, SIGTERM 143, SIGHUP 129, all resumed to the same weights; a second run in the folder was refused each time';
}
