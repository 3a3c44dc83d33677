/** Reads test/golden, whose README defines every file. */
import { readFileSync } from 'node:fs';
import { parseSafetensors, storedElements } from '../../engine/safetensors.ts';
import type { Shape } from '../../engine/index.ts';

const read = (name: string): Buffer => readFileSync(new URL(`../golden/${name}`, import.meta.url));

/** A manifest. */
export const goldenJson = <Manifest>(name: string): Manifest => JSON.parse(read(name).toString()) as Manifest;

/** Values as they are stored: float64 or float32, labels int32. */
export interface GoldenTensor {
  readonly shape: Shape;
  readonly values: Float64Array | Float32Array | Int32Array;
}

/** The tensors of a file, looked up by name; a missing name is an error. */
export function goldenTensors(file: string): (name: string) => GoldenTensor {
  const { tensors } = parseSafetensors(read(file), file);
  return (name) => {
    const stored = tensors.get(name);
    if (!stored) throw new Error(`${file} has no tensor ${name}`);
    return { shape: stored.shape, values: storedElements(stored) as GoldenTensor['values'] };
  };
}
