import {
  countNonFinite,
  countNonFiniteLoss as countLoss,
  skipNonFiniteStep as skipStep,
  spoil,
} from '../../kernels/non-finite/index.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import { formatShape, unravelIndex } from '../tensor-shape.ts';
import type { Shape } from '../tensor-shape.ts';
import type { Recorded, Tensor, TensorEngine } from '../tensor.ts';

/** Adds 1 to `guard` (f32 [1]) if the loss, a scalar, is NaN or infinite. Not differentiable. */
export function countNonFiniteLoss(loss: Tensor, guard: Tensor): void {
  loss.engine.run('countNonFiniteLoss', countLoss, {}, { loss, guard });
}

/**
 * Adds what `guard` has counted to the count of non-finite elements in `norm` (from `gradNorm`), so that the optimizer leaves
 * everything as it is. `permanent` leaves it so in all later steps too, until `guard` is written to.
 */
export function skipNonFiniteStep(norm: Tensor, guard: Tensor, permanent: boolean): void {
  norm.engine.run('skipNonFiniteStep', skipStep, { permanent }, { norm, guard });
}

/** An output in which NaN or infinity turned up. */
export interface NonFiniteOutput {
  readonly op: string;
  /** Path of the module that called the operator, where the calls were traced; else empty. */
  readonly path: string;
  readonly kernel: string;
  readonly output: string;
  readonly shape: Shape;
  readonly count: number;
  /** Position of the first one, an index a dimension. */
  readonly first: readonly number[];
}

/** Outputs that one examination can take. */
const MAX_OUTPUTS = 1 << 16;

/**
 * Runs `work` as a scope with every output of every operator examined on the GPU, and returns those that contained NaN or
 * infinity, in the order in which they were computed. Slower than plain running by about the time to read everything once.
 */
export async function findNonFinite(engine: TensorEngine, work: () => void): Promise<NonFiniteOutput[]> {
  const examined: { recorded: Recorded; output: string; shape: Shape }[] = [];
  const counts = engine.scope(() => {
    const found = engine.tensor(new Uint32Array(2 * MAX_OUTPUTS), [2 * MAX_OUTPUTS], 'u32');
    // Several kernels of an operator may write parts of one output: until the last has, the rest of it is whatever was there.
    let written = new Map<Tensor, { recorded: Recorded; output: string }>();
    let writer = '';
    const examine = (): void => {
      for (const [x, { recorded, output }] of written) {
        if (examined.length === MAX_OUTPUTS) {
          throw new DeitError('limit-exceeded', 'Too many operators to examine at once.', {
            expected: `at most ${MAX_OUTPUTS} outputs`,
          });
        }
        const problem = { n: x.size, k: examined.length, f16: x.dtype === 'f16' };
        engine.run('findNonFinite', countNonFinite, problem, { x, found });
        examined.push({ recorded, output, shape: x.shape });
      }
      written = new Map();
    };
    engine.observe((recorded) => {
      const { op, path, outputs } = recorded;
      if (writer !== `${op} ${path}`) examine();
      writer = `${op} ${path}`;
      for (const [output, x] of Object.entries(outputs)) {
        const isFloat = x.dtype === 'f32' || x.dtype === 'f16';
        if (isFloat && x.size > 0 && !written.has(x)) written.set(x, { recorded, output });
      }
    }, work);
    examine();
    return found.read();
  });
  const words = await counts;
  return examined.flatMap(({ recorded: { op, path, kernel }, output, shape }, k) => {
    const count = words[2 * k];
    if (count === 0) return [];
    return [{ op, path, kernel, output, shape, count, first: unravelIndex(0xffffffff - words[2 * k + 1], shape) }];
  });
}

/** One line about a finding. */
export function describeNonFinite({ op, path, kernel, output, shape, count, first }: NonFiniteOutput): string {
  const module = path ? ` in ${path}` : '';
  return `${op}${module} (kernel ${kernel}): ${count} elements of ${output} ${formatShape(shape)}, the first at [${first.join(', ')}]`;
}

/** A fault for drills: element `index` of a tensor becomes NaN in the step of that number. Recorded, so replays have it too. */
export function spoilAt(x: Tensor, index: number, step: number): void {
  x.engine.run('spoilAt', spoil, { index, step }, { x, step: x.engine.step });
}
