/** Paths in recipes, freed from the folder that a command happens to be run in. Node only. */
import { resolve } from 'node:path';
import { sampleName } from '../../data/node/index.ts';
import type { Recipe, SettingName } from '../../recipe/settings.ts';
import { SHIPPED } from './shipped.ts';

/** Settings that are paths. */
const PATHS = [
  'data.path',
  'data.valPath',
  'data.root',
  'data.cache',
  'model.weights',
  'teacher.weights',
] as const satisfies readonly SettingName[];

/** A path as an absolute one. What ships, and addresses such as `hf:OWNER/NAME`, are named, not placed. */
export const absolutePath = (path: string): string =>
  path === sampleName || path === SHIPPED || /^[a-z]{2,}:/.test(path) ? path : resolve(path);

/** A recipe that means the same from every folder: a run is resumed, and its model measured, from elsewhere. */
export function withAbsolutePaths(recipe: Recipe): Recipe {
  const paths = PATHS.map((name) => [name, recipe[name]] as const);
  return { ...recipe, ...Object.fromEntries(paths.map(([name, path]) => [name, path && absolutePath(path)])) };
}
