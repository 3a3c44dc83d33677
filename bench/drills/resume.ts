import { join } from 'node:path';
import { readSafetensorsFile } from '../../engine/node.ts';
import { expectThat, lossesOf, runWell, smallRecipe, startDeit, weightsOf } from './drill.ts';
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
  const first = startDeit([...train, parted]);
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
  const [x, y] = [await readSafetensorsFile(join(whole, name)), await readSafetensorsFile(join(parted, name))];
  const differing = [...x.tensors].filter(([key, { bytes }]) => !equalBytes(bytes, y.tensors.get(key)?.bytes));
  expectThat(differing.length === 0, `tensors differ: ${differing.map(([key]) => key).join(', ')}`);
  expectThat(x.tensors.size === y.tensors.size, 'the resumed checkpoint holds other tensors');
  expectThat(weightsOf(whole) === weightsOf(parted), 'the final weights differ');
  return `stopped after step ${stoppedAt} of ${STEPS}; ${x.tensors.size} tensors and ${STEPS} losses equal to the bit`;
}

const equalBytes = (a: Uint8Array, b: Uint8Array | undefined): boolean =>
  b !== undefined && Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;
