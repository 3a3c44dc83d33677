/**
 * How images are prepared, in the words of transformers' preprocessor_config.json: the one description that transformers,
 * transformers.js and other tools share. Browser-safe.
 */
import type { EvaluationPipeline } from '../data/pipeline.ts';

/** PIL's numbers of the filters. */
export const RESAMPLE = { bilinear: 2, bicubic: 3 } as const;

/** Up to this size, pictures of the model's own size are taken whole (see `evaluationCrop`). */
const SMALL = 32;

/**
 * The preprocessor_config.json of an evaluation. BitImageProcessor scales the shorter side, DeiTImageProcessor both; each is
 * nothing but the operations listed. Both cut at whole pixels rounded down, where torchvision rounds halves to even:
 * where an odd number of rows or columns is cut away, the crop may lie one pixel further up or left than here.
 *
 * Models of at most 32 pixels: the description is that of pictures of the model's size, which are taken whole. Larger ones
 * are scaled to that size, a little smaller than here.
 */
export function preprocessorConfig(pipeline: EvaluationPipeline): Record<string, unknown> {
  const { imageSize, cropPct, interpolation, resizeMode, normalization } = pipeline;
  const side = imageSize <= SMALL ? imageSize : Math.floor(imageSize / cropPct);
  const squash = resizeMode === 'squash';
  return {
    image_processor_type: squash ? 'DeiTImageProcessor' : 'BitImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: squash ? { height: side, width: side } : { shortest_edge: side },
    resample: RESAMPLE[interpolation],
    do_center_crop: true,
    crop_size: { height: imageSize, width: imageSize },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: normalization.mean,
    image_std: normalization.std,
  };
}
