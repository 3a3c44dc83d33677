import stripJsonComments from 'strip-json-comments';
import { DeitError, nearestName } from '../../engine/index.ts';
import { defaultRecipe, settingNames, settings } from './settings.ts';
import type { Recipe, Setting, SettingName, SettingValue } from './settings.ts';

/** Hyper-parameters that differ from the defaults, as a recipe file gives them. */
export type Overrides = Readonly<Record<string, SettingValue>>;

/** The defaults with overrides on top; later ones win. All mistakes are reported at once. */
export function resolveRecipe(...layers: readonly Overrides[]): Recipe {
  const recipe: Record<string, SettingValue> = defaultRecipe();
  const problems: string[] = [];
  for (const layer of layers) {
    for (const [name, value] of Object.entries(layer)) {
      const problem = checkSetting(name, value);
      if (problem) problems.push(problem);
      // -0 becomes 0, which is what a file would make of it.
      else recipe[name] = value === 0 ? 0 : value;
    }
  }
  if (problems.length > 0) {
    throw new DeitError('bad-config', `The recipe has ${problems.length === 1 ? 'a mistake' : 'mistakes'}.`, {
      found: problems.join('; '),
      fix: '`deit recipes --reference` lists every setting',
    });
  }
  return recipe as Recipe;
}

/** What may be meant: settings of that name in any section, or else the one with the nearest name, with its section or without. */
function nearSettings(name: string): string[] {
  const last = (setting: string): string => setting.slice(setting.lastIndexOf('.') + 1);
  const exact = settingNames.filter((setting) => last(setting).toLowerCase() === last(name).toLowerCase());
  if (exact.length > 0) return exact;
  if (name.includes('.')) return [nearestName(name, settingNames)].filter((near) => near !== undefined);
  const near = nearestName(name, settingNames.map(last));
  return settingNames.filter((setting) => last(setting) === near);
}

function checkSetting(name: string, value: SettingValue): string | null {
  if (!Object.hasOwn(settings, name)) {
    const near = nearSettings(name);
    return `there is no setting "${name}"${near.length > 0 ? ` (did you mean ${near.map((one) => `"${one}"`).join(' or ')}?)` : ''}`;
  }
  const setting: Setting = settings[name as SettingName];
  const found = `${name} is ${JSON.stringify(value)}`;
  switch (setting.kind) {
    case 'flag':
      return typeof value === 'boolean' ? null : `${found}, not true or false`;
    case 'text':
      return typeof value === 'string' ? null : `${found}, not a text`;
    case 'text?':
      return value === null || typeof value === 'string' ? null : `${found}, not a text or null`;
    case 'choice':
      return setting.choices.includes(value as string) ? null : `${found}, not one of ${setting.choices.join(', ')}`;
    default:
      if (value === null && setting.kind.endsWith('?')) return null;
      if (typeof value !== 'number' || !Number.isFinite(value)) return `${found}, not a number`;
      if (setting.kind.startsWith('integer') && !Number.isInteger(value)) return `${found}, not a whole number`;
      if (setting.min !== undefined && value < setting.min) return `${found}, less than ${setting.min}`;
      if (setting.max !== undefined && value > setting.max) return `${found}, more than ${setting.max}`;
      return null;
  }
}

/** Reads a recipe file: JSON with comments, settings nested by section or with dotted names. */
export function parseRecipe(source: string, file: string): Overrides {
  let content: unknown;
  try {
    // Editors on Windows begin files with a byte order mark.
    content = JSON.parse(stripJsonComments(source.replace(/^\uFEFF/, ''), { trailingCommas: true }));
  } catch (cause) {
    throw new DeitError('file-corrupt', 'The recipe is not JSON (comments are allowed).', {
      where: file,
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
  // Without a prototype, so that a key such as __proto__ is an unknown setting like any other.
  const overrides = Object.create(null) as Record<string, SettingValue>;
  flatten(content, '', overrides, file);
  return overrides;
}

function flatten(content: unknown, prefix: string, into: Record<string, SettingValue>, file: string): void {
  if (content === null || typeof content !== 'object' || Array.isArray(content)) {
    throw new DeitError('bad-config', 'A recipe is an object of sections and settings.', {
      where: `${file}${prefix ? `, ${prefix}` : ''}`,
      // Not the content itself: it may be nested deeper than it could be printed.
      found: Array.isArray(content) ? 'a list' : String(content).slice(0, 80),
    });
  }
  for (const [key, value] of Object.entries(content)) {
    const name = prefix ? `${prefix}.${key}` : key;
    if (name === '$schema') continue;
    if (value !== null && typeof value === 'object') {
      // Settings are two levels deep; anything deeper is a mistake, not something to follow.
      if (prefix)
        throw new DeitError('bad-config', 'A setting is a number, a text, true, false or null.', {
          where: `${file}, ${name}`,
        });
      flatten(value, name, into, file);
    } else into[name] = value as SettingValue;
  }
}

/** `key=value` of the command line: the value is read as JSON where it is JSON, else as a text. */
export function parseAssignment(assignment: string): Overrides {
  const equals = assignment.indexOf('=');
  if (equals <= 0) {
    throw new DeitError('bad-config', '--set takes key=value.', {
      found: assignment,
      fix: 'for example --set optim.lr=3e-4',
    });
  }
  const name = assignment.slice(0, equals).trim();
  const raw = assignment.slice(equals + 1).trim();
  const setting: Setting | undefined = Object.hasOwn(settings, name) ? settings[name as SettingName] : undefined;
  if (setting?.kind === 'text' || setting?.kind === 'choice') return { [name]: raw };
  if (setting?.kind === 'text?') return { [name]: raw === 'null' || raw === 'none' ? null : raw };
  try {
    const value: unknown = JSON.parse(raw);
    if (value === null || typeof value !== 'object') return { [name]: value as SettingValue };
  } catch {
    // Not JSON: checked as a text below, which names the setting in the error.
  }
  return { [name]: raw };
}

/** A recipe as a nested object, for saving with a run; only what differs from the defaults if asked. */
export function nestRecipe(recipe: Recipe, changedOnly = false): Record<string, Record<string, SettingValue>> {
  const nested: Record<string, Record<string, SettingValue>> = {};
  for (const name of settingNames) {
    if (changedOnly && recipe[name] === settings[name].default) continue;
    const [section, key] = name.split('.');
    (nested[section] ??= {})[key] = recipe[name];
  }
  return nested;
}
