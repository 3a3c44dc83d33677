import { readFileSync, readdirSync } from 'node:fs';
import { DeitError, nearestName } from '../../engine/index.ts';
import { assetPath } from '../data/node/index.ts';
import { parseRecipe, resolveRecipe } from '../recipe/resolve.ts';
import { recipeReference } from '../recipe/reference.ts';
import { recipeSchema } from '../recipe/schema.ts';
import { settingNames, settings } from '../recipe/settings.ts';

export const shippedRecipes = (): string[] =>
  readdirSync(assetPath('recipes'))
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();

const source = (recipe: string): string => readFileSync(assetPath('recipes', `${recipe}.json`), 'utf8');

/** The comment at the top of a recipe file: what it is for. */
const aboutOf = (text: string): string => {
  const [comment] = /^(\s*\/\/.*\n)+/.exec(text) ?? [''];
  return comment
    .replaceAll(/^\s*\/\/\s*/gm, '')
    .trim()
    .replaceAll(/\s*\n/g, ' ');
};

const abouts = () => shippedRecipes().map((recipe) => ({ name: recipe, about: aboutOf(source(recipe)) }));

/** The whole of deit/RECIPES.md. */
export const recipeReferenceText = (): string => recipeReference(abouts());

interface RecipesOptions {
  schema?: boolean;
  reference?: boolean;
}

/** `deit recipes [name]`: the recipes that ship with what they are for, or every setting of one; schema and reference. */
export function recipes(name: string | undefined, options: RecipesOptions): void {
  const names = shippedRecipes();
  if (options.schema) {
    process.stdout.write(`${JSON.stringify(recipeSchema(), null, 2)}\n`);
    return;
  }
  if (options.reference) {
    process.stdout.write(recipeReferenceText());
    return;
  }
  if (name === undefined) {
    const width = Math.max(...names.map(({ length }) => length));
    for (const { name: recipe, about } of abouts())
      process.stdout.write(`${recipe.padEnd(width)}  ${about.split(/[.:] /)[0]}\n`);
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
