import { createHash } from 'node:crypto';
import type { Launch } from '../../engine/index.ts';

/** Stands before the number of the program that the driver is about to compile, in what it writes. */
export const MARK = '@@@ program ';

/** One text of WGSL, and what its pipeline needs to know. */
export interface Program {
  readonly id: string;
  /** Kernel and variant. */
  readonly name: string;
  readonly code: string;
  readonly access: readonly string[];
  readonly hasUniforms: boolean;
}

export const programOf = ({ name, code, bindings, uniforms }: Launch): Program => ({
  id: createHash('sha256').update(code).digest('hex').slice(0, 12),
  name,
  code,
  access: bindings.map(({ access }) => access),
  hasUniforms: uniforms.length > 0,
});

/** Every text once, by the names of their kernels. */
export function distinct(launches: readonly Launch[]): Program[] {
  const programs = new Map<string, Program>();
  for (const launch of launches) if (!programs.has(launch.code)) programs.set(launch.code, programOf(launch));
  return [...programs.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
