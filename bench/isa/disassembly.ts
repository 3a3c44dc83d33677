/* What Mesa's AMD driver says of a compiled kernel (RADV_DEBUG=shaders,shaderstats): statistics, and the machine code. */

/** Kinds of instructions. `float`: arithmetic in floating point but multiply-adds; `hint`: what takes no unit. */
export type Kind =
  | 'fma' | 'wmma' | 'float' | 'transcendental' | 'convert' | 'select' | 'move' | 'integer'
  | 'ldsRead' | 'ldsWrite' | 'ldsOther' | 'load' | 'store' | 'scalarLoad' | 'wait' | 'barrier' | 'branch' | 'hint' | 'scalar'; // prettier-ignore

const VECTOR: readonly Kind[] = ['fma', 'wmma', 'float', 'transcendental', 'convert', 'select', 'move', 'integer'];

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/^v_s?wmma/, 'wmma'],
  // x * 1 - 0 of mixed types converts.
  [/^v_fma_mix.* 1\.0, neg\(0\)/, 'convert'],
  [/^v_(dual_)?(fma|mac|mad_(f|mix|legacy)|fmac|fmaak|fmamk|pk_fma|dot\d)/, 'fma'],
  [/^v_(dual_)?(mul|add|sub|subrev|max|min|pk_mul|pk_add)_(legacy_)?(f16|f32|dx9)/, 'float'],
  [/^v_(exp|log|rcp|rsq|sqrt|sin|cos)/, 'transcendental'],
  [/^v_cvt/, 'convert'],
  [/^v_(dual_)?(cndmask|cmpx?|med3|min3|max3|(min|max)_[ui])/, 'select'],
  [/^v_(dual_)?(mov|readfirst|readlane|writelane|accvgpr|perm|alignb|pack|swap)|dpp/, 'move'],
  [/^v_/, 'integer'],
  [/^ds_(load|read)/, 'ldsRead'],
  [/^ds_(store|write)/, 'ldsWrite'],
  [/^ds_/, 'ldsOther'],
  [/^(buffer|global|flat|scratch)_load/, 'load'],
  [/^(buffer|global|flat|scratch)_/, 'store'],
  [/^s_(buffer_)?load/, 'scalarLoad'],
  [/^s_wait/, 'wait'],
  [/^s_barrier/, 'barrier'],
  [/^s_c?branch/, 'branch'],
  [/^s_(delay_alu|clause|nop|set)/, 'hint'],
];

export const kindOf = (instruction: string): Kind =>
  KINDS.find(([pattern]) => pattern.test(instruction))?.[1] ?? 'scalar';

export interface Loop {
  /** First and last instruction. */
  readonly from: number;
  readonly to: number;
  /** Instructions: what takes an issue slot each; two that are issued as one count as one. */
  readonly slots: number;
  readonly counts: Partial<Record<Kind, number>>;
  /** Slots of the vector units, and how many of these have a multiply-add or a matrix product. */
  readonly vectorSlots: number;
  readonly fmaSlots: number;
  /** Words of 4 bytes that a lane reads from workgroup memory, and from memory. */
  readonly ldsWords: number;
  readonly loadWords: number;
}

export interface MachineCode {
  readonly registers: number;
  readonly spilledRegisters: number;
  readonly scratchBytes: number;
  readonly ldsBytes: number;
  /** Waves that fit on a SIMD at a time. */
  readonly occupancy: number;
  readonly instructions: number;
  /** Instructions and labels; empty where the disassembler does not know the card. */
  readonly lines: readonly string[];
  /** The loop with most arithmetic of its own, loops inside of it counted as one round; null where there is none. */
  readonly loop: Loop | null;
}

const wordsOf = (instruction: string): number =>
  (Number(/^\w*b(\d+)\b/.exec(instruction)?.[1] ?? 32) / 32) * (/_(load|read)_?2(addr|st)?/.test(instruction) ? 2 : 1);

function loopOf(code: readonly string[], from: number, to: number): Loop {
  const counts: Partial<Record<Kind, number>> = {};
  const totals = { slots: 0, vectorSlots: 0, fmaSlots: 0, ldsWords: 0, loadWords: 0 };
  for (const line of code.slice(from, to + 1)) {
    const operations = line.split('::').map((one) => one.trim());
    const kinds = operations.map(kindOf);
    kinds.forEach((kind, i) => {
      counts[kind] = (counts[kind] ?? 0) + 1;
      if (kind === 'ldsRead') totals.ldsWords += wordsOf(operations[i]);
      if (kind === 'load') totals.loadWords += wordsOf(operations[i]);
    });
    totals.slots++;
    if (kinds.some((kind) => VECTOR.includes(kind))) totals.vectorSlots++;
    if (kinds.some((kind) => kind === 'fma' || kind === 'wmma')) totals.fmaSlots++;
  }
  return { from, to, counts, ...totals };
}

/** What decides between loops: a matrix product is worth many multiply-adds. */
const arithmetic = (counts: Loop['counts']): number =>
  64 * (counts.wmma ?? 0) + (counts.fma ?? 0) + 0.5 * (counts.float ?? 0);

/** Of all loops (from a label to the last branch back to it) the one with most arithmetic that is in no loop inside of it. */
function hottest(code: readonly string[], labels: ReadonlyMap<string, number>): Loop | null {
  const ends = new Map<number, number>();
  code.forEach((line, i) => {
    const target = labels.get(/^s_c?branch\S*\s+(BB\d+)/.exec(line)?.[1] ?? '');
    if (target !== undefined && target <= i) ends.set(target, Math.max(i, ends.get(target) ?? 0));
  });
  const all = [...ends].map(([from, to]) => ({ from, to }));
  const own = ({ from, to }: { from: number; to: number }): number => {
    const inner = all.filter(
      (other) => other.from >= from && other.to <= to && (other.from !== from || other.to !== to),
    );
    const lines = code
      .slice(from, to + 1)
      .filter((_, i) => !inner.some((one) => from + i >= one.from && from + i <= one.to));
    return arithmetic(loopOf(lines, 0, lines.length).counts);
  };
  const [best] = all.map((loop) => ({ loop, weight: own(loop) })).sort((one, other) => other.weight - one.weight);
  return best ? loopOf(code, best.loop.from, best.loop.to) : null;
}

/** Of what the driver wrote while it compiled one kernel; null where it compiled nothing. */
export function machineCodeOf(dump: string): MachineCode | null {
  const statistic = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(dump)?.[1] ?? NaN);
  if (Number.isNaN(statistic('Instructions'))) return null;
  const [, text = ''] = dump.split('disasm:\n');
  const code: string[] = [];
  const lines: string[] = [];
  const labels = new Map<string, number>();
  for (const raw of text.split('\nCompute Shader:')[0].split('\n')) {
    const label = /^(BB\d+):/.exec(raw.trim())?.[1];
    const line = raw.replace(/\s+;.*$/, '').replace(/\s*\/\/.*$/, '').trim(); // prettier-ignore
    if (line !== '') lines.push(label === undefined ? `  ${line}` : line);
    if (label !== undefined) labels.set(label, code.length);
    else if (line !== '') code.push(line);
  }
  return {
    registers: statistic('VGPRs'),
    spilledRegisters: statistic('Spilled VGPRs'),
    scratchBytes: statistic('Scratch size'),
    ldsBytes: statistic('LDS size'),
    occupancy: statistic('Subgroups per SIMD'),
    instructions: statistic('Instructions'),
    lines,
    loop: hottest(code, labels),
  };
}

/** Part of a loop's issue slots, and of its vector slots, that multiply and add; NaN where there is no loop. */
export const fmaOfIssue = (loop: Loop | null): number => (loop ? loop.fmaSlots / loop.slots : NaN);
export const fmaOfVector = (loop: Loop | null): number => (loop ? loop.fmaSlots / loop.vectorSlots : NaN);

/** Cycles of a matrix product of 16 x 16 x 16 in f16 on a SIMD of RDNA3, and of other vector instructions, a wave of 32 lanes. */
const WMMA_CYCLES = 32;

/** Part of the vector units' cycles in which matrices are multiplied. */
export function wmmaOfVector(loop: Loop | null): number {
  const products = loop?.counts.wmma ?? 0;
  if (!loop || products === 0) return 0;
  const cycles = WMMA_CYCLES * products;
  return cycles / (cycles + loop.vectorSlots - products);
}
