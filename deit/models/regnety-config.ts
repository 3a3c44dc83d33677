import { DeitError } from '../../engine/index.ts';
import { sizeProblems } from './options.ts';

/** The shape of a RegNetY. Defaults are regnety_002's. */
export interface RegNetYConfig {
  /** Initial width, slope and factor from one width to the next, from which the widths of the stages follow. */
  readonly w0: number;
  readonly wa: number;
  readonly wm: number;
  /** Blocks in all. */
  readonly depth: number;
  /** Channels of a group of the 3x3 convolutions. */
  readonly groupWidth: number;
  /** Width of squeeze-and-excitation as a share of the channels that enter the block. */
  readonly seRatio: number;
  readonly classes: number;
  readonly inChans: number;
  readonly stemWidth: number;
  /** 2 as published; 1 keeps the resolution of small images. */
  readonly stemStride: number;
  /** Side of the square images that multiply-adds are counted for; any other works too. */
  readonly imageSize: number;
  /** Starts the last norm of every block at zero, so that an untrained block is its shortcut. */
  readonly zeroInitLast: boolean;
}

const shape = (w0: number, wa: number, wm: number, depth: number, groupWidth: number) => ({
  w0,
  wa,
  wm,
  depth,
  groupWidth,
});

/** The published models, by timm's names (Radosavovic et al. 2020; the number is in units of 100 million multiply-adds). */
export const regnetyModels = {
  regnety_002: shape(24, 36.44, 2.49, 13, 8),
  regnety_004: shape(48, 27.89, 2.09, 16, 8),
  regnety_006: shape(48, 32.54, 2.32, 15, 16),
  regnety_008: shape(56, 38.84, 2.4, 14, 16),
  regnety_016: shape(48, 20.71, 2.65, 27, 24),
  regnety_032: shape(80, 42.63, 2.66, 21, 24),
  regnety_040: shape(96, 31.41, 2.24, 22, 64),
  regnety_064: shape(112, 33.22, 2.27, 25, 72),
  regnety_080: shape(192, 76.82, 2.19, 17, 56),
  regnety_120: shape(168, 73.36, 2.37, 19, 112),
  regnety_160: shape(200, 106.23, 2.48, 18, 112),
  regnety_320: shape(232, 115.89, 2.53, 20, 232),
} as const;

export type RegNetYName = keyof typeof regnetyModels;

/** Fills in defaults and checks. Throws `bad-config` with every problem. */
export function regnetyConfig(options: Partial<RegNetYConfig>): RegNetYConfig {
  const config: RegNetYConfig = {
    ...regnetyModels.regnety_002,
    seRatio: 0.25,
    classes: 1000,
    inChans: 3,
    stemWidth: 32,
    stemStride: 2,
    imageSize: 224,
    zeroInitLast: true,
    ...options,
  };
  const whole = ['w0', 'depth', 'groupWidth', 'classes', 'inChans', 'stemWidth', 'stemStride', 'imageSize'] as const;
  const problems = sizeProblems(config, whole);
  if (!(config.w0 % 8 === 0)) problems.push(`w0 ${config.w0} is not a multiple of 8`);
  if (!(config.wa >= 0 && Number.isFinite(config.wa))) problems.push(`wa is ${config.wa}`);
  if (!(config.wm > 1 && Number.isFinite(config.wm))) problems.push(`wm is ${config.wm}, not above 1`);
  if (!(config.seRatio > 0 && config.seRatio <= 1)) problems.push(`seRatio is ${config.seRatio}, not in (0, 1]`);
  if (config.stemStride > 2) problems.push(`stemStride is ${config.stemStride}, not 1 or 2`);
  if (problems.length > 0) {
    throw new DeitError('bad-config', 'No RegNetY has this shape.', { found: problems.join('; ') });
  }
  return config;
}

/** Rounds to the nearest whole number, halves to the even one, as Python does: Math.round gives other networks. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** A run of blocks at one resolution, all `width` wide; the first halves the resolution. */
export interface Stage {
  readonly width: number;
  readonly depth: number;
  readonly groups: number;
}

/** Stages from the five numbers: equations 2 to 4 and appendix D of the paper, with its rounding to multiples of 8. */
export function regnetyStages({ w0, wa, wm, depth, groupWidth }: RegNetYConfig): Stage[] {
  const depths = new Map<number, number>();
  for (let j = 0; j < depth; j++) {
    const exponent = roundHalfEven(Math.log((w0 + wa * j) / w0) / Math.log(wm));
    const width = 8 * roundHalfEven((w0 * wm ** exponent) / 8);
    depths.set(width, (depths.get(width) ?? 0) + 1);
  }
  return [...depths]
    .sort(([a], [b]) => a - b)
    .map(([width, count]) => {
      const group = Math.min(groupWidth, width);
      const groups = roundHalfEven(width / group);
      return { width: groups * group, depth: count, groups };
    });
}

/** One block: its place in the state dict, and what it needs of the network around it. */
export interface BlockPlan {
  readonly name: string;
  readonly inputs: number;
  readonly width: number;
  readonly groups: number;
  readonly stride: number;
  /** Width of squeeze-and-excitation, from the channels entering the block. */
  readonly squeezed: number;
  /** Whether the shortcut is a convolution. */
  readonly downsample: boolean;
}

/** All blocks in order. */
export function regnetyBlocks(config: RegNetYConfig): BlockPlan[] {
  const blocks: BlockPlan[] = [];
  let inputs = config.stemWidth;
  regnetyStages(config).forEach(({ width, depth, groups }, stage) => {
    for (let block = 0; block < depth; block++) {
      const stride = block === 0 ? 2 : 1;
      const squeezed = roundHalfEven(config.seRatio * inputs);
      const downsample = inputs !== width || stride !== 1;
      blocks.push({ name: `s${stage + 1}.b${block + 1}`, inputs, width, groups, stride, squeezed, downsample });
      inputs = width;
    }
  });
  return blocks;
}
