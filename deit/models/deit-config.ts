import { DeitError } from '../../engine/index.ts';
import { sizeProblems } from './options.ts';

/** The shape of a DeiT. Defaults are DeiT-Ti's at 224 pixels, without distillation token. */
export interface DeitConfig {
  /** Side of the square images, in pixels: a multiple of the patch size. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly inChans: number;
  /** Width of a token, a multiple of the number of heads. */
  readonly width: number;
  /** Number of blocks. */
  readonly depth: number;
  readonly heads: number;
  /** Hidden width of the MLP, by default four times the width. */
  readonly dFf: number;
  readonly classes: number;
  /** With a distillation token and head. */
  readonly distilled: boolean;
  /** Heads after the distillation token, 1 or 0: without one, only the class head answers. */
  readonly distHead: number;
  /** Stochastic depth of the last block; the rate rises linearly from 0 at the first. */
  readonly dropPath: number;
  /** Dropout of tokens, projections and MLP; DeiT uses none. */
  readonly dropout: number;
  /** Epsilon of the layer norms. */
  readonly eps: number;
}

/** Fills in defaults and checks. Throws `bad-config` with every problem. */
export function deitConfig(options: Partial<DeitConfig> = {}): DeitConfig {
  const { width = 192 } = options;
  const config: DeitConfig = {
    imageSize: 224,
    patchSize: 16,
    inChans: 3,
    width,
    depth: 12,
    heads: 3,
    dFf: 4 * width,
    classes: 1000,
    distilled: false,
    distHead: 1,
    dropPath: 0,
    dropout: 0,
    eps: 1e-6,
    ...options,
  };
  const whole = ['imageSize', 'patchSize', 'inChans', 'width', 'heads', 'dFf', 'classes', 'depth'] as const;
  const problems = sizeProblems(config, whole, 0);
  if (config.distHead !== 0 && config.distHead !== 1) problems.push(`distHead is ${config.distHead}, not 0 or 1`);
  for (const name of ['dropPath', 'dropout'] as const) {
    if (!(config[name] >= 0 && config[name] < 1)) problems.push(`${name} is ${config[name]}, not in [0, 1)`);
  }
  if (!(config.eps > 0)) problems.push(`eps is ${config.eps}`);
  if (problems.length === 0 && config.imageSize % config.patchSize !== 0) {
    problems.push(`imageSize ${config.imageSize} is not a multiple of patchSize ${config.patchSize}`);
  }
  if (problems.length === 0 && config.width % config.heads !== 0) {
    problems.push(`width ${config.width} is not a multiple of heads ${config.heads}`);
  }
  if (problems.length > 0) {
    throw new DeitError('bad-config', 'No DeiT has this shape.', { found: problems.join('; ') });
  }
  return config;
}

/** Patches along one side of the image. */
export const gridSide = ({ imageSize, patchSize }: DeitConfig): number => imageSize / patchSize;
/** Whether there is a head after a distillation token. */
export const hasDistHead = ({ distilled, distHead }: DeitConfig): boolean => distilled && distHead === 1;
/** Tokens before the patches: class, and distillation if there is one. */
export const prefixTokens = ({ distilled }: DeitConfig): number => (distilled ? 2 : 1);
/** Length of the token sequence. */
export const tokenCount = (config: DeitConfig): number => gridSide(config) ** 2 + prefixTokens(config);
/** Stochastic depth of block number `block`. */
export const dropPathRate = ({ dropPath, depth }: DeitConfig, block: number): number =>
  depth > 1 ? (dropPath * block) / (depth - 1) : 0;
