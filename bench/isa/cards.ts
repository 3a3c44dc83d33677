import { deviceProfiles } from '../../engine/node.ts';
import type { DeviceProfileName } from '../../engine/node.ts';

/** A card that Mesa's AMD driver compiles for. */
export interface CompiledCard {
  /** Name of the family to the driver. */
  readonly family: string;
  /** Settings of the driver. */
  readonly settings: Readonly<Record<string, string>>;
  /** What the engine knows of it. */
  readonly profile: DeviceProfileName;
  /** Lanes of a wave, where kernels do not ask for a number. */
  readonly wave: number;
}

const compute32 = { RADV_PERFTEST: 'cswave32' };

export const compiledCards = {
  navi31: { family: 'navi31', settings: {}, profile: 'amd-rdna3', wave: 64 },
  'navi31-wave32': { family: 'navi31', settings: compute32, profile: 'amd-rdna3', wave: 32 },
  navi21: { family: 'navi21', settings: {}, profile: 'amd-rdna2', wave: 64 },
  gfx1201: { family: 'gfx1201', settings: {}, profile: 'amd-rdna4', wave: 64 },
  polaris10: { family: 'polaris10', settings: {}, profile: 'amd-gcn4', wave: 64 },
  /** What the engine launches on an H100, compiled for the nearest that there is a compiler for. */
  'h100-by-navi31': { family: 'navi31', settings: compute32, profile: 'nvidia', wave: 32 },
} as const satisfies Record<string, CompiledCard>;

export type CardName = keyof typeof compiledCards;

/** What a roofline is drawn for. */
export interface Roof {
  readonly name: string;
  /** FLOP/s in f32 without matrix units, and in f16 with them. */
  readonly f32: number;
  readonly f16: number;
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Units that issue instructions of their own waves. */
  readonly schedulers: number;
  /** Cycles of a scheduler in which its matrix unit multiplies 16 x 16 by 16 x 16 in f16: 8192 FLOP. */
  readonly matrixCycles: number;
  /** Whether in a cycle a scheduler issues one instruction of each kind, from several waves; else one in all. */
  readonly issuesByKind: boolean;
  /** Seconds from the end of one kernel to the start of the next. */
  readonly gap: number;
  /** The card whose machine code stands for it. */
  readonly compiled: CardName;
}

/** Peaks by the makers' data sheets (f32 of the RX 7900 XTX without dual issue). Gaps are assumed. */
export const roofs: readonly Roof[] = [
  {
    name: 'RX 7900 XTX',
    f32: 30.7e12,
    f16: 122.8e12,
    bandwidth: 0.96e12,
    schedulers: 192,
    matrixCycles: 32,
    issuesByKind: true,
    gap: 4e-6,
    compiled: 'navi31',
  },
  {
    name: 'H100 SXM',
    f32: 67e12,
    f16: 990e12,
    bandwidth: 3.35e12,
    schedulers: 528,
    matrixCycles: 8,
    issuesByKind: false,
    gap: 3e-6,
    compiled: 'h100-by-navi31',
  },
];

export const profileOf = (name: CardName) => deviceProfiles[compiledCards[name].profile];
