import { uniform } from '../support/close.ts';

/** Logits of a batch, and others of the same shape: a teacher's. */
export interface LossCase {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  readonly logits: Float32Array;
  readonly other: Float32Array;
}

function batch(name: string, rows: number, width: number, scale = 3, offset = 0): LossCase {
  const draw = (seed: number) => uniform(rows * width, seed, scale).map((x) => x + offset);
  return { name, rows, width, logits: draw(rows + width), other: draw(rows * width + 1) };
}

export const LOSS_CASES: readonly LossCase[] = [
  batch('one row, one class', 1, 1),
  batch('one row, two classes', 1, 2),
  batch('CIFAR-10', 16, 10),
  batch('ImageNet', 5, 1000),
  batch('ragged', 7, 33),
  batch('more rows than a workgroup', 131, 12),
  batch('many rows', 3001, 7),
  batch('large logits', 6, 8, 1e4),
  batch('large logits, ragged', 6, 9, 1e4),
  batch('an offset', 4, 8, 2, 1000),
  batch('small logits', 4, 6, 1e-3),
  {
    name: 'equal rows',
    rows: 3,
    width: 6,
    logits: new Float32Array(18).fill(2.5),
    other: new Float32Array(18).fill(-1),
  },
];

/**
 * Two rows of four classes: logits of both heads and of the teacher, and labels. Tests have values of it to ten digits,
 * computed in float64 from DeiT's formulas; f32 keeps six to seven of them.
 */
export const DISTILLATION_EXAMPLE: Readonly<Record<'cls' | 'dist' | 'teacher' | 'labels', number[]>> = {
  cls: [2, 1, 0, -1, 0.5, 0, 1.5, -0.5],
  dist: [1, 2, 0, 0, 0, 1, 1, 2],
  teacher: [3, 1, 0, 0, 0, 0, 2, 1],
  labels: [0, 2],
};
