import { readFileSync, readdirSync } from 'node:fs';
import { DeitError, nearestName } from '../../engine/index.ts';
import { assetPath } from '../data/node/index.ts';
import { parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import { settingNames, settings } from '../recipe/settings.ts';

export const shippedRecipes = (): string[] =>
  readdirSync(assetPath('recipes'))
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();

/** `deit recipes [name]`: the recipes that ship with what they are for, or every setting of one. */
export function recipes(name?: string): void {
  const names = shippedRecipes();
  const source = (recipe: string): string => readFileSync(assetPath('recipes', `${recipe}.json`), 'utf8');
  if (name === undefined) {
    for (const recipe of names) {
      const about = /^\s*\/\/\s*(.*)$/m.exec(source(recipe))?.[1] ?? '';
      process.stdout.write(`${recipe.padEnd(28)} ${about}\n`);
    }
    return;
  }
  if (!names.includes(name)) {
    const near = nearestName(name, names);
    throw new DeitError('unknown-name', 'There is no recipe of this name.', {
      found: name,
      expected: names.join(', '),
      fix: near && `did you mean ${near}?`,
    });
  }
  const recipe = resolveRecipe(parseRecipe(source(name), name));
  for (const setting of settingNames) {
    const { about } = settings[setting];
    process.stdout.write(`${setting.padEnd(26)} ${JSON.stringify(recipe[setting]).padEnd(24)} ${about}\n`);
  }
}
