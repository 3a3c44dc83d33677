/** The pretrained model that ships with the package. Node only. */
import { join } from 'node:path';
import { assetPath } from '../../data/node/index.ts';

/** What stands for the shipped model where weights are asked for. */
export const SHIPPED = 'shipped';

export const shippedWeights = (): string => join(assetPath('deit_tiny_patch16_224'), 'model.safetensors');
