import { join } from 'node:path';
import { differingTensors, expectThat, lossesOf, runWell, smallRecipe, startDeit, weightsOf } from './drill.ts';
import type { DrillOptions } from './drill.ts';

const STEPS = 40;

/**
 * Forty steps in one go, or stopped on the way by a signal and resumed: every loss and every tensor of the last
 * checkpoint is equal to the bit, with mixing, moving average, stochastic depth, accumulation and data workers.
 */
export async function resume({ folder }: DrillOptions): Promise<string> {
  const recipe = smallRecipe(folder, { run: { evaluateEvery: 0, checkpointEvery: STEPS - 1 } });
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const train = ['train', '--recipe', recipe, '--steps', String(STEPS), '--output'];
  await runWell([...train, whole]);
  const first = await startDeit([...train, parted]);
  // One line for every second step.
  await first.said(/student +16\/40/);
  first.child.kill('SIGTERM');
  const { code, output } = await first.finished;
  expectThat(code === 143, `a run ended by SIGTERM has exit code 143, not ${code}:\n${output}`);
  const stoppedAt = lossesOf(parted).length;
  expectThat(stoppedAt < STEPS, 'the run was over before it was stopped');
  await runWell(['train', '--resume', parted]);
  const [a, b] = [lossesOf(whole), lossesOf(parted)];
  expectThat(a.length === STEPS && a.join() === b.join(), `the losses differ:\n${a.join(' ')}\n${b.join(' ')}`);
  const name = `checkpoints/student-${String(STEPS - 1).padStart(8, '0')}.safetensors`;
  const differing = await differingTensors(join(whole, name), join(parted, name));
  expectThat(differing.length === 0, `tensors differ: ${differing.join(', ')}`);
  expectThat(weightsOf(whole) === weightsOf(parted), 'the final weights differ');
  return `stopped after step ${stoppedAt} of ${STEPS}; every tensor of the last checkpoint and ${STEPS} losses equal to the bit`;
}
