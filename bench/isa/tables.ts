import { fmaOfIssue, fmaOfVector, wmmaOfVector } from './disassembly.ts';
import type { Kind, MachineCode } from './disassembly.ts';
import type { Program } from './programs.ts';
import type { StepTime } from './roofline.ts';

const percent = (share: number): string => (Number.isNaN(share) ? '-' : String(Math.round(100 * share)));

/** One row of the table: what a kernel was compiled to. */
export interface Row {
  readonly kernel: string;
  readonly id: string;
  readonly vgprs: number;
  readonly spilled: number;
  readonly scratch: number;
  readonly lds: number;
  readonly waves: number;
  readonly instructions: number;
  /** Instructions of the innermost loop by kind. */
  readonly loop: Partial<Record<Kind, number>> | null;
  readonly slots: number | null;
  readonly ldsWords: number | null;
  readonly loadWords: number | null;
  /** Percent. */
  readonly fmaOfVector: number | null;
  readonly fmaOfIssue: number | null;
  readonly wmma: number | null;
}

export function rowOf({ name, id }: Program, code: MachineCode): Row {
  const { loop } = code;
  return {
    kernel: name,
    id,
    vgprs: code.registers,
    spilled: code.spilledRegisters,
    scratch: code.scratchBytes,
    lds: code.ldsBytes,
    waves: code.occupancy,
    instructions: code.instructions,
    loop: loop && loop.counts,
    slots: loop && loop.slots,
    ldsWords: loop && loop.ldsWords,
    loadWords: loop && loop.loadWords,
    fmaOfVector: loop && Math.round(100 * fmaOfVector(loop)),
    fmaOfIssue: loop && Math.round(100 * fmaOfIssue(loop)),
    wmma: loop && Math.round(100 * wmmaOfVector(loop)),
  };
}

const COLUMNS: readonly (readonly [string, readonly Kind[]])[] = [
  ['fma', ['fma']],
  ['wmma', ['wmma']],
  ['float', ['float', 'transcendental', 'convert']],
  ['int', ['integer', 'move']],
  ['select', ['select']],
  ['scalar', ['scalar', 'scalarLoad']],
  ['lds', ['ldsRead', 'ldsWrite', 'ldsOther']],
  ['memory', ['load', 'store']],
  ['branch', ['branch']],
  ['wait', ['wait', 'barrier', 'hint']],
];

const HEAD = `${'kernel'.padEnd(46)} VGPR spill scratch    LDS waves instr | loop ${COLUMNS.map(([name]) => name.padStart(6)).join(' ')} | of vector, of issue, WMMA, bound %`;

/** The table of one card: a line per kernel; `loop` and what follows is the innermost loop with most arithmetic. */
export function kernelTable(rows: readonly Row[]): string {
  const line = (row: Row): string => {
    const of = (kinds: readonly Kind[]): number => kinds.reduce((sum, kind) => sum + (row.loop?.[kind] ?? 0), 0);
    const cells = [
      `${row.kernel} ${row.id.slice(0, 4)}`.padEnd(46),
      String(row.vgprs).padStart(4),
      String(row.spilled).padStart(5),
      String(row.scratch).padStart(7),
      String(row.lds).padStart(6),
      String(row.waves).padStart(5),
      String(row.instructions).padStart(5),
    ];
    if (!row.loop) return `${cells.join(' ')} | none`;
    const counts = COLUMNS.map(([, kinds]) => String(of(kinds)).padStart(6)).join(' ');
    const bound = row.wmma! > 0 ? row.wmma! : row.waves >= 2 ? row.fmaOfVector! : row.fmaOfIssue!;
    const shares = [row.fmaOfVector, row.fmaOfIssue, row.wmma, bound].map((share) => String(share).padStart(5));
    return `${cells.join(' ')} | ${String(row.slots).padStart(4)} ${counts} | ${shares.join(' ')}`;
  };
  return [HEAD, ...rows.map(line)].join('\n');
}

/** One step on one card, by family of kernels. */
export function stepTable({ step, roof, batch, ms, gapsMs, imagesPerSecond, bytes, families }: StepTime): string {
  const head = `${step}, batch ${batch}, ${roof} (a model): ${ms.toFixed(1)} ms, ${imagesPerSecond.toFixed(0)} images/s, ${(bytes / 2 ** 30).toFixed(2)} GiB moved, gaps ${gapsMs.toFixed(1)} ms`;
  const shown = families.filter((family) => family.ms > 0.005 * ms);
  return [
    head,
    ...shown.map(
      ({ family, launches, flops, bytes: moved, ms: own, computeMs }) =>
        `  ${family.padEnd(34)} ${own.toFixed(2).padStart(8)} ms ${percent(own / ms).padStart(3)} %  ${String(launches).padStart(4)} launches  ${(flops / 1e9).toFixed(1).padStart(8)} GFLOP ${(moved / 1e6).toFixed(0).padStart(7)} MB  bound by ${computeMs > own / 2 ? 'arithmetic' : 'memory'}`,
    ),
  ].join('\n');
}
