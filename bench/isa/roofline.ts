import type { Launch } from '../../engine/index.ts';
import type { Roof } from './cards.ts';
import { fmaOfIssue, fmaOfVector } from './disassembly.ts';
import type { MachineCode } from './disassembly.ts';
import type { Step } from './steps.ts';

/* A model, not a measurement: no card has run any of this. */

/** Part of a card's bandwidth that streams of loads and stores reach. */
const REACHED = 0.8;
/** Part of the matrix units' peak that products from workgroup memory reach at most, whatever the instructions are. */
const MATRIX_REACHED = 0.6;
/** Of kernels without loops, whose time is memory's. */
const NO_LOOP = 0.1;

/** The family that a kernel belongs to: operator and pass, without the tile. */
export const familyOf = (name: string): string => name.replace(/_f16$/, '').split('/')[0].split('.', 2).join('.');

/** Lanes of a workgroup, by its code. */
function workgroupSize(code: string): number {
  const [, sizes = '1'] = /@workgroup_size\(([^)]*)\)/.exec(code) ?? [];
  return sizes.split(',').reduce((product, size) => product * Number.parseInt(size, 10), 1);
}

/** Waves of 32 lanes that a launch has. */
export const wavesOf = ({ code, grid }: Launch): number =>
  grid[0] * grid[1] * grid[2] * Math.ceil(workgroupSize(code) / 32);

export interface Time {
  readonly compute: number;
  readonly memory: number;
  readonly total: number;
}

/** Seconds of one launch: the longer of arithmetic and memory. Arithmetic has what its innermost loop leaves of the peak. */
export function timeOf(launch: Launch, code: MachineCode, roof: Roof): Time {
  const { loop } = code;
  const products = loop?.counts.wmma ?? 0;
  const isMatrix = products > 0;
  const own = roof.matrixCycles * products;
  const share = isMatrix
    ? Math.min(MATRIX_REACHED, own / (own + (roof.issuesByKind ? loop!.vectorSlots : loop!.slots) - products))
    : // With other waves to issue from, what is no vector instruction is hidden in part.
      roof.issuesByKind && code.occupancy >= 4
      ? (fmaOfIssue(loop) + fmaOfVector(loop)) / 2
      : fmaOfIssue(loop);
  const peak = isMatrix ? roof.f16 : roof.f32;
  const busy = Math.min(1, wavesOf(launch) / roof.schedulers);
  const compute = launch.cost.flops / (peak * Math.max(NO_LOOP, share || 0) * busy);
  const memory = launch.cost.bytes / (REACHED * roof.bandwidth);
  return { compute, memory, total: Math.max(compute, memory) };
}

export interface FamilyTime {
  readonly family: string;
  readonly launches: number;
  readonly flops: number;
  readonly bytes: number;
  /** Milliseconds, gaps between kernels left out; those bound by arithmetic. */
  readonly ms: number;
  readonly computeMs: number;
}

export interface StepTime {
  readonly step: string;
  readonly roof: string;
  readonly batch: number;
  readonly ms: number;
  readonly gapsMs: number;
  readonly imagesPerSecond: number;
  readonly bytes: number;
  readonly families: readonly FamilyTime[];
}

/** The modelled time of a step on a card, by family of kernels, longest first. */
export function stepTime(step: Step, roof: Roof, codeOf: (launch: Launch) => MachineCode | undefined): StepTime {
  const families = new Map<string, FamilyTime>();
  const add = (family: string, flops: number, bytes: number, seconds: number, isCompute: boolean): void => {
    const old = families.get(family) ?? { family, launches: 0, flops: 0, bytes: 0, ms: 0, computeMs: 0 };
    families.set(family, {
      family,
      launches: old.launches + 1,
      flops: old.flops + flops,
      bytes: old.bytes + bytes,
      ms: old.ms + 1e3 * seconds,
      computeMs: old.computeMs + (isCompute ? 1e3 * seconds : 0),
    });
  };
  for (const command of step.commands) {
    if (command.kind === 'copy') {
      add('copy', 0, 2 * command.bytes, (2 * command.bytes) / (REACHED * roof.bandwidth), false);
      continue;
    }
    const { launch } = command;
    const code = codeOf(launch);
    if (!code) continue;
    const { compute, memory, total } = timeOf(launch, code, roof);
    add(familyOf(launch.name), launch.cost.flops, launch.cost.bytes, total, compute > memory);
  }
  const sorted = [...families.values()].sort((a, b) => b.ms - a.ms);
  const gapsMs = 1e3 * roof.gap * step.commands.length;
  const ms = sorted.reduce((sum, one) => sum + one.ms, gapsMs);
  return {
    step: `${step.name} ${step.precision}`,
    roof: roof.name,
    batch: step.batch,
    ms,
    gapsMs,
    imagesPerSecond: (1e3 * step.batch) / ms,
    bytes: sorted.reduce((sum, { bytes }) => sum + bytes, 0),
    families: sorted,
  };
}
