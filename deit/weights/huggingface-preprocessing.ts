/** How the preprocessor_config.json of transformers and the pretrained_cfg of timm prepare images. Browser-safe. */
import { DeitError } from '../../engine/index.ts';
import { imagenetNormalization } from '../data/transforms.ts';
import type { EvaluationOptions, Normalization } from '../data/transforms.ts';
import type { Interpolation } from '../data/resize.ts';
import { isObject } from './huggingface-config.ts';
import type { Json } from './huggingface-config.ts';

/** Evaluation settings; `imageSize` is the side of the squares that come out. */
export type Preparation = EvaluationOptions & { readonly normalization: Normalization };

/** PIL's numbers of the filters. */
export const RESAMPLE = { bilinear: 2, bicubic: 3 } as const satisfies Record<Interpolation, number>;

const half = [0.5, 0.5, 0.5] as const;
/** What processors do where a file does not say: `[resample, normalization]`, by the name without its ending. */
const defaults: Readonly<Record<string, readonly [number, Normalization]>> = {
  DeiT: [RESAMPLE.bicubic, imagenetNormalization],
  ViT: [RESAMPLE.bilinear, { mean: half, std: half }],
  ConvNext: [RESAMPLE.bicubic, imagenetNormalization],
};

const unusable = (where: string, expected: string, found: unknown): DeitError =>
  new DeitError('bad-config', 'Images cannot be prepared here as this file says.', {
    where,
    expected,
    found: JSON.stringify(found),
  });

/** The preparation that a preprocessor_config.json describes. Throws `bad-config` for steps that cannot be done here. */
export function preparationOfProcessor(config: Json, where: string): Preparation {
  const type = config.image_processor_type ?? config.feature_extractor_type ?? 'ViTImageProcessor';
  const kind = (typeof type === 'string' ? type : '').replace(/(ImageProcessor(Fast|Pil)?|FeatureExtractor)$/, '');
  const [usualResample, usual] = defaults[kind] ?? [];
  for (const step of ['do_resize', 'do_normalize', 'do_rescale']) {
    if (config[step] === false) throw unusable(where, `${step} true`, false);
  }
  const factor = config.rescale_factor ?? 1 / 255;
  if (typeof factor !== 'number' || Math.abs(factor * 255 - 1) > 1e-6)
    throw unusable(where, 'rescale_factor 1/255', factor);
  const normalization = {
    mean: triple(config.image_mean ?? usual?.mean, where, 'image_mean'),
    std: triple(config.image_std ?? usual?.std, where, 'image_std'),
  };
  const interpolation = filterOf(config.resample ?? usualResample, where);
  const common = { interpolation, normalization, cropRounding: 'down' } as const;
  if (kind === 'ConvNext') return { ...common, ...convNextResize(config, where) };
  const [size, resizeMode] = resizeOf(config, kind, where);
  if (config.do_center_crop ?? kind !== 'ViT') {
    const imageSize = sideOf(config.crop_size ?? 224, where, 'crop_size');
    return { ...common, imageSize, resizeMode, cropPct: cropPct(imageSize, size, where) };
  }
  if (resizeMode === 'squash') return { ...common, imageSize: size, resizeMode, cropPct: 1 };
  throw unusable(where, 'do_center_crop, or a size with height and width', config.size);
}

/** ConvNextImageProcessor, which the RegNets of the hub have: below 384 pixels a crop, from there on none. */
function convNextResize(config: Json, where: string): Pick<Preparation, 'imageSize' | 'cropPct' | 'resizeMode'> {
  const { size = 384 } = config;
  const imageSize = sideOf(isObject(size) ? (size.shortest_edge ?? size) : size, where, 'size');
  if (imageSize >= 384) return { imageSize, cropPct: 1, resizeMode: 'squash' };
  return { imageSize, cropPct: numberOf(config.crop_pct ?? 224 / 256, where, 'crop_pct'), resizeMode: 'shorter' };
}

/** Size after resizing, and which sides are resized to it. An old whole number means both sides to DeiT and ViT. */
function resizeOf({ size }: Json, kind: string, where: string): [number, Preparation['resizeMode']] {
  if (isObject(size) && 'shortest_edge' in size && !('longest_edge' in size)) {
    return [sideOf(size.shortest_edge, where, 'size'), 'shorter'];
  }
  const isBoth = isObject(size) || kind === 'DeiT' || kind === 'ViT';
  return [sideOf(size, where, 'size'), isBoth ? 'squash' : 'shorter'];
}

/** A side in pixels: a number, or equal height and width. */
function sideOf(value: unknown, where: string, name: string): number {
  const sides = isObject(value) ? [value.height, value.width] : [value];
  const [side] = sides;
  const isSquare = sides.every((other) => other === side);
  if (typeof side === 'number' && Number.isInteger(side) && side > 0 && isSquare) return side;
  throw unusable(where, `${name}, the side of a square in whole pixels`, value);
}

/** The crop as a part of the size, such that `evaluationCrop` comes to that very size. */
function cropPct(imageSize: number, size: number, where: string): number {
  if (size < imageSize) throw unusable(where, `a size of at least the crop, ${imageSize}`, size);
  let part = imageSize / size;
  // Rounding may make the quotient a little too large, and the size one pixel too small.
  while (Math.floor(imageSize / part) < size) part *= 1 - Number.EPSILON;
  return part;
}

function filterOf(resample: unknown, where: string): Interpolation {
  if (resample === RESAMPLE.bicubic || resample === 'bicubic') return 'bicubic';
  if (resample === RESAMPLE.bilinear || resample === 'bilinear') return 'bilinear';
  throw unusable(where, 'a bicubic (3) or bilinear (2) filter', resample);
}

function triple(value: unknown, where: string, name: string): [number, number, number] {
  const isTriple = Array.isArray(value) && value.length === 3 && value.every((x) => typeof x === 'number');
  if (isTriple) return value as [number, number, number];
  throw unusable(where, `${name}, three numbers`, value);
}

function numberOf(value: unknown, where: string, name: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw unusable(where, `${name}, a number`, value);
}

/** The preparation that timm's pretrained_cfg describes. Throws `bad-config` for steps that cannot be done here. */
export function preparationOfTimm(config: Json, where: string): Preparation {
  const mode = config.crop_mode ?? 'center';
  if (mode !== 'center' && mode !== 'squash') throw unusable(where, 'crop_mode center or squash', mode);
  const [, side, other] = Array.isArray(config.input_size) ? (config.input_size as unknown[]) : [3, 224, 224];
  return {
    // Defaults are those of timm's resolve_data_config.
    imageSize: sideOf({ height: side, width: other }, where, 'input_size'),
    cropPct: numberOf(config.crop_pct ?? 0.875, where, 'crop_pct'),
    interpolation: filterOf(config.interpolation ?? 'bicubic', where),
    resizeMode: mode === 'squash' ? 'squash' : 'shorter',
    cropRounding: 'even',
    normalization: {
      mean: triple(config.mean ?? imagenetNormalization.mean, where, 'mean'),
      std: triple(config.std ?? imagenetNormalization.std, where, 'std'),
    },
  };
}
