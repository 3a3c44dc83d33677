/** Parameters of odd sizes in one flat buffer, for tests of optimizers. */
import { blockTable, flatGradients } from '../../engine/node.ts';
import type { Engine, Tensor } from '../../engine/node.ts';
import { uniform } from './close.ts';

export const SHAPES = [[3, 5], [1], [7], [64], [65], [130, 33], [2, 2]];
/** Weight decay for matrices only, as in the recipe: two groups. */
export const groupOf = (index: number): number => (SHAPES[index].length > 1 ? 1 : 0);

export interface Model {
  parameters: Tensor[];
  flat: Tensor;
  gradients: Tensor;
  blocks: Tensor;
  zeros: () => Tensor;
}

export function model(gpu: Engine): Model {
  const parameters = SHAPES.map((shape, i) =>
    gpu.tensor(
      uniform(
        shape.reduce((a, b) => a * b),
        i,
      ),
      shape,
    ),
  );
  const flat = gpu.pack(parameters, 'parameters');
  const gradients = flatGradients(parameters, flat);
  return {
    parameters,
    flat,
    gradients,
    blocks: blockTable(gpu, parameters, groupOf),
    zeros: () => gpu.zeros(flat.shape),
  };
}

/** The gradient of step s: NaN in the padding of the whole buffer, which no kernel may let through. */
export function writeGradients({ parameters, gradients }: Model, s: number, scale = 1): Float64Array[] {
  gradients.write(new Float32Array(gradients.size).fill(NaN));
  return parameters.map((parameter, i) => {
    const values = uniform(parameter.size, 100 * s + i, scale);
    parameter.gradHome!.write(values);
    return Float64Array.from(values);
  });
}

export const start = (i: number): Float64Array =>
  Float64Array.from(
    uniform(
      SHAPES[i].reduce((a, b) => a * b),
      i,
    ),
  );
export const normOf = (gradients: Float64Array[]): number =>
  Math.sqrt(gradients.flatMap((g) => [...g]).reduce((a, g) => a + g * g, 0));
