/** The ranks of `deit train` begin together and end together, and go on from the last checkpoint. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundled } from '../../bench/bundled.ts';
import {
  PLAIN,
  largestDifference,
  launch,
  launchWell,
  openMpi,
  place,
  recipeFile,
  training,
} from '../support/train-ranks.ts';
import { STRUCK } from '../support/train-ranks-orders.ts';
import type { Fault, Order } from '../support/train-ranks-orders.ts';

const plain = recipeFile('plain', PLAIN);
const EVERY_STEP = ['--set', 'run.evaluateEvery=0.03'];
const goingOn = (run: string, fault?: Fault, ...rest: string[]): Order => ({
  args: training(plain, run, '--resume', 'auto', ...rest),
  fault,
});

// Processes that start, and compile, on a machine that may be busy with others.
describe.runIf(openMpi)('the ranks of deit train', { timeout: 600_000 }, () => {
  const whole = place('whole');
  beforeAll(() => launchWell(1, { args: training(plain, whole) }), 600_000);

  it('do not begin where they differ: the message names field and rank', async () => {
    const differing: [string, Omit<Order, 'args'>][] = [
      ['version of node: rank 1 has 99.0.0, rank 0 has ', { fault: { kind: 'version', rank: 1, at: 'start' } }],
      ['optim.lr: rank 1 has 0.5, rank 0 has 0.0005', { own: { 1: ['--set', 'optim.lr=0.5'] } }],
      [`--output: rank 1 has elsewhere, rank 0 has ${place('other')}`, { own: { 1: ['--output', 'elsewhere'] } }],
      ['--resume: rank 1 has auto, rank 0 has (none)', { own: { 1: ['--resume', 'auto'] } }],
      ['list of the images: rank 1 has that of other data', { fault: { kind: 'data', rank: 1, at: 'start' } }],
      ['kernel variants: rank 1 has {"device":', { fault: { kind: 'variants', rank: 1, at: 'start' } }],
      // Last: it stays so in that process.
      ['adapter: rank 1 has SwiftShader', { own: { 1: ['--adapter', 'swiftshader'] } }],
    ];
    const orders = differing.map(([, order]) => ({ args: training(plain, place('other')), ...order }));
    const { said, ended } = await launch(2, ...orders);
    differing.forEach(([told], i) => {
      const [zero, one] = said[i];
      expect([zero.code, one.code], ended.stderr).toEqual([1, 1]);
      expect(zero.err).toContain('[rank-mismatch]');
      expect(zero.err).toContain(`found: ${told}`);
      expect(one.out + one.err).toBe('');
      expect(existsSync(place('other'))).toBe(false);
    });
  });

  it('stop after the same step and save, whichever gets the signal, in whatever it is; two go on to the same weights', async () => {
    const run = place('stopped');
    const { said, ended } = await launch(
      2,
      goingOn(run, { kind: 'SIGUSR2', rank: 1, at: 'start' }, ...EVERY_STEP),
      goingOn(run, { kind: 'SIGINT', rank: 1, at: 2 }, ...EVERY_STEP),
      // The step after the evaluation is the last.
      goingOn(run, { kind: 'SIGTERM', rank: 0, at: 'evaluation' }, ...EVERY_STEP),
      goingOn(run, undefined, ...EVERY_STEP),
    );
    const codes = said.map((own) => own.map(({ code }) => code));
    expect(codes, ended.stderr).toEqual([[140, 140], [130, 130], [143, 143], [0, 0]]); // prettier-ignore
    const [first, second, third] = said.slice(0, 3).map(([{ err }]) => Number(/^stopped the student after step (\d+) of 6/m.exec(err)?.[1])); // prettier-ignore
    expect(first).toBe(0);
    // After the step under way, or the next, if the signal comes late in it.
    expect([2, 3]).toContain(second);
    expect(third).toBe(second + 2);
    expect(await largestDifference(run, whole)).toBe(0);
    expect(await largestDifference(run, whole, 'student-ema.safetensors')).toBe(0);
  });

  it('stop at Ctrl-C where --processes started them', async () => {
    const run = place('interrupted');
    const program = await bundled('deit/cli/main.ts');
    const args = training(plain, run, '--processes', '2', '--set', 'schedule.steps=5000');
    const environment = { ...process.env, ...openMpi!.environment, DEIT_MPIRUN: openMpi!.mpirun };
    const child = spawn(process.execPath, [program, ...args], {
      env: environment,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let heard = '';
    child.stderr.on('data', (chunk: Buffer) => {
      const before = heard.includes(' images/s');
      heard += chunk.toString();
      if (!before && heard.includes(' images/s')) child.kill('SIGINT');
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code, heard).toBe(140);
    const [, step] = /^stopped the student after step (\d+) of 5000/m.exec(heard) ?? [];
    const name = `student-${step.padStart(8, '0')}.safetensors`;
    expect(existsSync(join(run, 'checkpoints', name)), heard).toBe(true);
  });

  it('end together within seconds where one fails or dies; the run goes on to the weights of an unbroken one', async () => {
    const run = place('failing');
    const failures: [Fault, told: RegExp, messages: number, code: number, checkpoint: number][] = [
      [{ kind: 'throw', rank: 1, at: 3 }, /^rank 1 \(.*\): Error: thrown by the test/m, 1, 1, 2],
      [{ kind: 'lost', rank: 1, at: 4 }, /^rank 1 \(.*\): \[device-lost\]/m, 1, 1, 2],
      [{ kind: 'full', rank: 0, at: 4 }, /^\[file-unwritable\][^]*ENOSPC/m, 1, 1, 2],
      [
        { kind: 'nan', rank: 1, at: 5 },
        /^\[non-finite\][^]*step 5[^]*found: rank 1, batch 10: the data: image 1 of batch 10/m,
        1,
        1,
        4,
      ],
      [{ kind: 'kill', rank: 1, at: 6 }, /rank 1 .*exited on signal 9/, 0, 137, 4],
    ];
    for (const [fault, told, messages, code, checkpoint] of failures) {
      const { ended } = await launch(2, goingOn(run, fault));
      const { stderr } = ended;
      expect(ended.code, stderr).toBe(code);
      expect(stderr).toMatch(told);
      // One message, whoever it comes from.
      expect(stderr.match(/^(rank \d+ \(.*\): |Error: |\[[a-z-]+\])/gm)?.length ?? 0, stderr).toBe(messages);
      // From the fault to the end of the launcher.
      expect(ended.sinceLast(STRUCK)).toBeLessThan(10);
      const name = `student-${String(checkpoint).padStart(8, '0')}.safetensors`;
      expect(await largestDifference(join(run, 'checkpoints'), join(whole, 'checkpoints'), name), fault.kind).toBe(0);
      expect(existsSync(join(run, 'checkpoints', `student-${String(checkpoint + 2).padStart(8, '0')}.safetensors`))).toBe(false); // prettier-ignore
    }
    await launchWell(1, goingOn(run));
    expect(await largestDifference(run, whole)).toBe(0);
  });
});
