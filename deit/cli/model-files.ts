import { DeitError, readSafetensors, toFloat32 } from '../../engine/node.ts';
import type { Shape, StoredTensor } from '../../engine/node.ts';
import type { StateValue } from '../../nn/index.ts';
import { describeModel } from '../models/registry.ts';
import { expectFiniteInput } from '../non-finite.ts';
import { MOST_IMAGES } from './session.ts';

/** Options of the commands that take a model. */
export interface ModelOptions {
  /** What `openCheckpoint` takes. */
  readonly weights: string;
  /** Name with options; default: what the weights say. */
  readonly model?: string;
  /** The moving average of the weights. */
  readonly ema?: boolean;
}

/** Images [B, 3, H, W] of an input file, checked to fit the model and to be finite. */
export async function readImages(path: string, spec: string) {
  const { imageSize } = describeModel(spec);
  const { tensors } = await readSafetensors(path, ({ entries }) => {
    // Before gigabytes are read.
    const images = entries.find(({ name }) => name === 'images');
    if (images) expectImages(images.shape, imageSize, path);
  });
  const stored = named(tensors, 'images', path);
  return { images: finite(stored, path, 'images').data as Float32Array, shape: stored.shape, tensors };
}

function expectImages(shape: Shape, imageSize: number, path: string): void {
  const [batch, channels, height, width] = shape;
  const isOfModel = shape.length === 4 && channels === 3 && height === imageSize && width === imageSize;
  if (isOfModel && batch <= MOST_IMAGES) return;
  throw new DeitError('shape-mismatch', 'The images do not fit the model.', {
    where: `${path}, tensor images`,
    expected: `[B, 3, ${imageSize}, ${imageSize}] with B up to ${MOST_IMAGES}`,
    found: `[${shape.join(', ')}]`,
    fix: 'resize the images or divide the file, or give the model another img_size',
  });
}

/** The tensor of this name in a file, or an error that lists what there is. */
export function named(tensors: ReadonlyMap<string, StoredTensor>, name: string, path: string): StoredTensor {
  const found = tensors.get(name);
  if (found) return found;
  throw new DeitError('state-mismatch', `The file has no tensor "${name}".`, {
    where: path,
    found: [...tensors.keys()].slice(0, 10).join(', ') || 'no tensors',
  });
}

/** The values of a stored tensor of any float dtype. */
export const floats = (stored: StoredTensor): StateValue => ({ data: toFloat32(stored), shape: stored.shape });

/** The same, checked to be finite. */
export function finite(stored: StoredTensor, path: string, name: string): StateValue {
  const value = floats(stored);
  expectFiniteInput(value, `${path}, tensor ${name}`);
  return value;
}
