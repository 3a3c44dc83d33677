import { beforeEach, describe, expect, it } from 'vitest';
import type { Kernel, Launch } from '../../engine/node.ts';
import { attentionForward, attentionKeyValueGradient, attentionQueryGradient } from '../../kernels/attention/index.ts';
import type { AttentionProblem } from '../../kernels/attention/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { AttentionCase } from '../cases/attention.ts';
import { attentionReference } from '../../kernels/attention/reference.ts';
import { expectClose, uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';
import { HALF_UNIT, f16Tensor, numbers, rounded } from '../support/f16.ts';
import {
  emulated,
  expectCompiles,
  matricesOf,
  MATRIX_GPU,
  nullDevice,
  skipUnlessEmulated,
} from '../support/subgroup-matrix.ts';

const engine = useEngine();

const KERNELS = [attentionForward, attentionQueryGradient, attentionKeyValueGradient];
const DEIT: AttentionProblem = { batch: 2, tokens: 197, heads: 3, width: 64, f16: true };

describe('the choice of the subgroup-matrix variant', () => {
  const expectChosen = (chosen: boolean, problem: AttentionProblem, device: DeviceProfile): void => {
    for (const kernel of KERNELS) {
      const pattern = chosen ? /^attention\.\w+\/subgroup_matrix_\d+_f16$/ : /\/workgroup/;
      for (const { name } of kernel(problem, device)) expect(name).toMatch(pattern);
    }
  };
  it('is for f16 tensors with heads of whole matrices, on devices that multiply f16 matrices into f32', () => {
    expectChosen(true, DEIT, MATRIX_GPU);
    expectChosen(true, { ...DEIT, width: 80 }, MATRIX_GPU);
    expectChosen(false, { ...DEIT, width: 72 }, MATRIX_GPU);
    expectChosen(true, { ...DEIT, width: 72 }, { ...MATRIX_GPU, subgroupMatrix: matricesOf(8) });
    expectChosen(false, { ...DEIT, f16: false }, MATRIX_GPU);
    const [matrices] = matricesOf(16);
    const others = [
      { ...matrices, resultComponentType: 'f16' },
      { ...matrices, M: 8 },
    ];
    expectChosen(false, DEIT, { ...MATRIX_GPU, subgroupMatrix: others });
    expectChosen(false, DEIT, { ...MATRIX_GPU, subgroupSize: 0 });
    expectChosen(false, DEIT, { ...MATRIX_GPU, subgroupSize: 8 });
  });

  it('is for devices with enough workgroup memory: what every device has does for heads of 64', () => {
    const small = { ...MATRIX_GPU, maxWorkgroupStorage: 16384 };
    expectChosen(true, DEIT, small);
    expectChosen(false, { ...DEIT, width: 80 }, small);
    expectChosen(false, DEIT, { ...MATRIX_GPU, maxInvocationsPerWorkgroup: 32 });
    const forced = { ...DEIT, variant: 'subgroup_matrix', width: 80 } as const;
    expect(() => attentionForward(forced, small)).toThrow(
      /bad-argument[\s\S]*attention\.forward[\s\S]*subgroup_matrix/,
    );
  });

  it('leaves the tuner the others', () => {
    expect(attentionQueryGradient.candidates(DEIT, MATRIX_GPU)).toEqual([
      'subgroup_matrix',
      'workgroup_pairs',
      'workgroup',
    ]);
    expect(attentionQueryGradient.candidates({ ...DEIT, f16: false }, MATRIX_GPU)).toEqual([
      'workgroup_pairs',
      'workgroup',
    ]);
  });
});

describe('its WGSL', () => {
  it('compiles on Dawn without a GPU', async ({ skip }) => {
    const device = await nullDevice();
    if (!device) {
      skip();
      return;
    }
    // This device has subgroups of up to 128 lanes, wants workgroups of as many invocations at least, and the least of memory.
    for (const [side, subgroupSize] of [
      [16, 64],
      [8, 32],
    ]) {
      const profile = { ...MATRIX_GPU, maxWorkgroupStorage: 16384, subgroupSize, subgroupMatrix: matricesOf(side) };
      for (const tokens of [66, 197, 578]) {
        for (const kernel of KERNELS) {
          for (const launch of kernel({ ...DEIT, tokens }, profile)) await expectCompiles(device, launch);
        }
      }
    }
    // As NVIDIA's have it; and wide heads, whose pipelines are beyond the device.
    for (const kernel of KERNELS) {
      for (const width of [64, 128]) await expectCompiles(device, kernel({ ...DEIT, width }, MATRIX_GPU)[0], true);
    }
    device.destroy();
  });
});

const nans = (shape: readonly number[]): Float32Array =>
  new Float32Array(shape.reduce((product, n) => product * n)).fill(NaN);

interface Case extends AttentionCase {
  /** All scores lie so far below zero that exp(-s) is infinite: what is past the end must not take part as a zero. */
  readonly sunk?: boolean;
}

function inputs({ batch, tokens, heads, width, scale = 1, sunk }: Case): { qkv: Float32Array; g: Float32Array } {
  const qkv = rounded(uniform(batch * tokens * 3 * heads * width, 1, scale));
  for (let i = 0; sunk && i < qkv.length; i += width) {
    const part = Math.floor(i / (heads * width)) % 3;
    if (part < 2) qkv[i] = part === 0 ? -30 : 10;
  }
  return { qkv, g: rounded(uniform(batch * tokens * heads * width, 2)) };
}

/** y and dqkv by kernels in the variants that are asked for, subgroup_matrix with emulated matrices. */
async function attention(problem: Case, side: number, [forward, backward]: readonly [string, string]) {
  const { batch, tokens, heads, width } = problem;
  const { qkv, g } = inputs(problem);
  const [fused, merged] = [
    [batch, tokens, 3 * heads * width],
    [batch, tokens, heads * width],
  ];
  const own = { batch, tokens, heads, width, f16: true };
  const tensors = {
    qkv: f16Tensor(engine(), qkv, fused),
    dy: f16Tensor(engine(), g, merged),
    // Every element must be written, whatever was there.
    y: f16Tensor(engine(), nans(merged), merged),
    stats: engine().full([batch, heads, tokens, 2], NaN),
    delta: engine().full([batch, heads, tokens], NaN),
    dqkv: f16Tensor(engine(), nans(fused), fused),
  };
  const run = (kernel: Kernel<AttentionProblem>, variant: string): void => {
    const emulating = (asked: AttentionProblem, device: DeviceProfile): Launch[] =>
      kernel(asked, { ...device, subgroupMatrix: matricesOf(side) }).map((launch) => emulated(launch, side));
    engine().run(variant, variant === 'subgroup_matrix' ? emulating : kernel, { ...own, variant }, tensors);
  };
  run(attentionForward, forward);
  run(attentionQueryGradient, backward);
  run(attentionKeyValueGradient, backward);
  return { y: await numbers(tensors.y), dqkv: await numbers(tensors.dqkv), expected: attentionReference(own, qkv, g) };
}

/**
 * In units of a rounding to f16. y: its weights are rounded, then y itself; the errors of weights have either sign, so that
 * relative to y they are no larger. dqkv: weights or their gradients, dqkv itself, and delta, which is of rounded y and
 * takes part in both terms of their difference.
 */
const Y_UNITS = 2;
const GRADIENT_UNITS = 4;

describe('its arithmetic, with the matrix functions emulated', () => {
  const check = async (
    problem: Case,
    side: number,
    variants: readonly [string, string] = ['subgroup_matrix', 'subgroup_matrix'],
  ): Promise<void> => {
    const { y, dqkv, expected } = await attention(problem, side, variants);
    expectClose(y, expected.y, Y_UNITS * HALF_UNIT, 'y');
    expectClose(dqkv, expected.dqkv, GRADIENT_UNITS * HALF_UNIT, 'dqkv');
  };
  beforeEach(({ skip }) => skipUnlessEmulated(engine(), skip));

  it.each([1, 31, 32, 37, 66])('%i tokens, two lanes a row', async (tokens) => {
    await check({ batch: 2, tokens, heads: 2, width: 8 }, 4);
  });

  it('one lane a row', async () => {
    await check({ batch: 1, tokens: 35, heads: 2, width: 8 }, 8, ['subgroup_matrix', 'subgroup']);
  });

  it('scores so large that the running max grows', async () => {
    await check({ batch: 1, tokens: 131, heads: 2, width: 8, scale: 6 }, 4);
  });

  it('scores that are all far below zero', async () => {
    await check({ batch: 1, tokens: 37, heads: 2, width: 8, sunk: true }, 4);
  });

  it('keeps the statistics that the other variants keep', async () => {
    const problem = { batch: 1, tokens: 45, heads: 2, width: 8, scale: 4 };
    await check(problem, 4, ['subgroup_matrix', 'subgroup']);
    await check(problem, 4, ['subgroup', 'subgroup_matrix']);
  });
});
