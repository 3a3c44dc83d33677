/** @module-tag slow */
import { beforeAll, describe, expect, it } from 'vitest';
import { compileFor, findToolchain } from '../../bench/isa/toolchain.ts';
import type { Compiled } from '../../bench/isa/toolchain.ts';
import { fmaOfIssue, machineCodeOf, wmmaOfVector } from '../../bench/isa/disassembly.ts';
import { distinct } from '../../bench/isa/programs.ts';
import type { Program } from '../../bench/isa/programs.ts';
import { launchesOf, stepsOf } from '../../bench/isa/steps.ts';
import { profileOf } from '../../bench/isa/cards.ts';

const CARD = 'navi31';

/**
 * What Mesa 25.0 makes of the kernels that take most of a step, on RDNA3, less a little for other versions of it: waves that fit
 * on a SIMD, and percent of the innermost loop's issue slots that multiply and add, or of its vector cycles that multiply matrices. A change that falls below a floor costs speed
 * on a GPU, whatever it gains on a processor.
 */
const FLOORS: readonly {
  readonly kernel: RegExp;
  readonly waves: number;
  readonly fma?: number;
  readonly wmma?: number;
}[] = [
  { kernel: /^matmul\/workgroup_.._128x128/, waves: 8, fma: 80 },
  { kernel: /^matmul\/workgroup_.._64x64/, waves: 4, fma: 80 },
  { kernel: /^conv2d\.(forward|input_gradient|weight_gradient)\/implicit_128x128$/, waves: 8, fma: 80 },
  { kernel: /^patch_embed\.(forward|weight)\/implicit_64x64$/, waves: 4, fma: 80 },
  { kernel: /^attention\.forward\/workgroup_pairs/, waves: 8, fma: 58 },
  { kernel: /^attention\.value_gradient\/workgroup_pairs/, waves: 8, fma: 60 },
  { kernel: /^attention\.(query|key)_gradient\/workgroup_pairs/, waves: 6, fma: 58 },
  { kernel: /^matmul\/subgroup_matrix_.._128x128/, waves: 8, wmma: 85 },
  { kernel: /^patch_embed\.forward\/implicit_matrix_64x64/, waves: 10, wmma: 78 },
  { kernel: /^patch_embed\.weight\/implicit_matrix_64x64/, waves: 10, wmma: 65 },
  { kernel: /^conv2d\.(forward|input_gradient)\/implicit_matrix_128x128_/, waves: 8, wmma: 80 },
  { kernel: /^conv2d\.weight_gradient\/implicit_matrix_128x128_/, waves: 8, wmma: 70 },
  { kernel: /^attention\.(forward|query_gradient)\/subgroup_matrix/, waves: 4, wmma: 75 },
  { kernel: /^attention\.key_value_gradient\/subgroup_matrix/, waves: 3, wmma: 80 },
  // Bound by memory: sums of columns and rows of all tensors are in registers.
  { kernel: /^layer_norm\.backward_add_columns/, waves: 24 },
];

const toolchain = (() => {
  try {
    return findToolchain();
  } catch (error) {
    // The reason is in the name of the test.
    return String(error);
  }
})();

describe.skipIf(typeof toolchain === 'string')(
  `kernels of DeiT-Ti and a teacher on ${CARD}${typeof toolchain === 'string' ? `: ${toolchain.split('\n')[0]}` : ''}`,
  () => {
    let programs: Program[] = [];
    let compiled = new Map<string, Compiled>();

    beforeAll(async () => {
      if (typeof toolchain === 'string') return;
      programs = distinct(launchesOf(await stepsOf(profileOf(CARD), 64, ['DeiT-Ti'])));
      compiled = await compileFor(CARD, programs, toolchain);
    }, 120_000);

    it('all compile, and keep their registers', () => {
      expect(programs.length).toBeGreaterThan(40);
      const wrong = programs.flatMap(({ id, name }) => {
        const { code, failure } = compiled.get(id)!;
        if (!code) return [`${name}: ${failure}`];
        const { spilledRegisters, scratchBytes } = code;
        return spilledRegisters > 0 || scratchBytes > 0
          ? [`${name}: ${spilledRegisters} spilled, ${scratchBytes} B`]
          : [];
      });
      expect(wrong).toEqual([]);
    });

    it.each(FLOORS)('$kernel: waves and arithmetic', ({ kernel, waves, fma = 0, wmma = 0 }) => {
      const own = programs.filter(({ name }) => kernel.test(name));
      expect(own.length).toBeGreaterThan(0);
      for (const { id, name } of own) {
        const { code } = compiled.get(id)!;
        expect(code!.occupancy, `${name}: waves`).toBeGreaterThanOrEqual(waves);
        expect(100 * fmaOfIssue(code!.loop), `${name}: multiply-adds`).toBeGreaterThanOrEqual(fma);
        expect(100 * wmmaOfVector(code!.loop), `${name}: matrix products`).toBeGreaterThanOrEqual(wmma);
      }
    });
  },
);

describe('reading what the driver writes', () => {
  const dump = `
VGPRs: 24
Spilled VGPRs: 2
Scratch size: 512
LDS size: 1024
Subgroups per SIMD: 16
Instructions: 11
disasm:
BB0:
	s_mov_b32 s0, 0                                             ; be800080
BB1:
	ds_load_b128 v[0:3], v9                                     ; d8dc0000
	v_dual_fmac_f32 v4, v0, v1 :: v_dual_mul_f32 v5, v2, v3     ; c8000000
	v_fma_f32 v6, v0, v1, v2                                    ; d6130000
	v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]   ; cc400000
	v_fma_mix_f32 v26, v6, 1.0, neg(0) op_sel_hi:[1,0,0]        ; cc200000
BB2:
	v_add_nc_u32_e32 v1, 1, v1                                  ; 4a020281
	s_cbranch_scc1 BB2                                          ; bfa20000
	s_cbranch_vccnz BB1                                         ; bfa40000
	s_endpgm                                                    ; bfb00000
`;

  it('finds statistics, and counts the loop with most arithmetic of its own', () => {
    const code = machineCodeOf(dump)!;
    expect(code).toMatchObject({
      registers: 24,
      spilledRegisters: 2,
      scratchBytes: 512,
      ldsBytes: 1024,
      occupancy: 16,
    });
    expect(code.loop).toMatchObject({ slots: 8, vectorSlots: 5, fmaSlots: 3, ldsWords: 4 });
    expect(code.loop!.counts).toEqual({ fma: 2, float: 1, wmma: 1, convert: 1, integer: 1, ldsRead: 1, branch: 2 });
    // 32 cycles of the product, and four other vector instructions.
    expect(wmmaOfVector(code.loop)).toBeCloseTo(32 / 36, 12);
  });

  it('knows when nothing was compiled', () => {
    expect(machineCodeOf('')).toBeNull();
  });
});
