/** Heads and distillation token of a checkpoint, for a model with other classes or with a token. Browser-safe. */
import { sameShape } from '../../engine/index.ts';
import type { Shape } from '../../engine/index.ts';
import type { StateValue } from '../../nn/index.ts';
import { alignClasses } from './classes.ts';
import type { ClassRequest } from './classes.ts';

const HEAD = /^(head|head_dist|head\.fc)\.(weight|bias)$/;
const POSITIONS = 'pos_embed';

/** Whether a tensor, by timm's name, belongs to a head. */
export const isHead = (name: string): boolean => HEAD.test(name);

/**
 * Brings the rows of all heads into the order of the wanted classes, or removes the heads where they are for other classes
 * and the model's are to begin anew. Throws as `alignClasses` does.
 */
export function arrangeHeads(
  values: Map<string, StateValue>,
  request: Omit<ClassRequest, 'count'>,
  notes: string[],
): void {
  const heads = [...values].filter(([name, { shape }]) => isHead(name) && shape.length > 0);
  if (heads.length === 0) {
    // Elsewhere a missing head is an error.
    if (request.policy === 'any') notes.push('the head is new: the weights have none');
    return;
  }
  const count = heads[0][1].shape[0];
  // Heads of different sizes are reported as misshapen.
  if (heads.some(([, { shape }]) => shape[0] !== count)) return;
  const { rows, notes: said } = alignClasses({ ...request, count });
  notes.push(...said);
  for (const [name, value] of heads) {
    if (rows === null) values.delete(name);
    else values.set(name, takeRows(value, rows));
  }
}

function takeRows(value: StateValue, rows: readonly number[]): StateValue {
  if (rows.length === value.shape[0] && rows.every((row, i) => row === i)) return value;
  const width = value.shape.slice(1).reduce((a, b) => a * b, 1);
  const data = new Float32Array(rows.length * width);
  rows.forEach((row, i) => {
    for (let k = 0; k < width; k++) data[i * width + k] = value.data[row * width + k];
  });
  return { shape: [rows.length, ...value.shape.slice(1)], data };
}

/**
 * A student with a distillation token can start from a checkpoint without: the token and its position are then copies of
 * the class token's, and the head is left as initialised.
 */
export function growDistillationToken(
  values: Map<string, StateValue>,
  expected: ReadonlyMap<string, Shape>,
  notes: string[],
): void {
  const [token, positions] = [values.get('cls_token'), values.get(POSITIONS)];
  if (!expected.has('dist_token') || values.has('dist_token') || !token || positions?.shape.length !== 3) return;
  const [one, count, width] = positions.shape;
  const data = new Float32Array(positions.data.length + width);
  data.set(Array.prototype.slice.call(positions.data, 0, width));
  data.set(positions.data, width);
  values.set(POSITIONS, { shape: [one, count + 1, width], data });
  values.set('dist_token', token);
  notes.push('started the distillation token as a copy of the class token, and its head as initialised');
}

/** Removes heads for another number of classes, where nothing is known but the number. */
export function dropHeads(
  values: Map<string, StateValue>,
  expected: ReadonlyMap<string, Shape>,
  notes: string[],
): void {
  for (const [name, { shape }] of values) {
    const wanted = expected.get(name);
    if (!wanted || !isHead(name) || sameShape(shape, wanted)) continue;
    values.delete(name);
    notes.push(`left ${name} as initialised: the checkpoint has ${shape[0]} classes, the model ${wanted[0]}`);
  }
}
