import { settingNames, settings } from './settings.ts';
import type { Setting } from './settings.ts';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** JSON schema (draft 2020-12) of recipe files, for editors: a recipe's `$schema` names it. */
export function recipeSchema(): Json {
  const sections: Record<string, Record<string, Json>> = {};
  for (const name of settingNames) {
    const [section, key] = name.split('.');
    (sections[section] ??= {})[key] = settingSchema(settings[name]);
  }
  const properties = Object.entries(sections).map(([section, keys]): [string, Json] => [
    section,
    { type: 'object', additionalProperties: false, properties: keys },
  ]);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Training recipe of deit-webgpu',
    description: 'Settings that differ from the defaults, by section. Comments and trailing commas are allowed.',
    type: 'object',
    additionalProperties: false,
    properties: { $schema: { type: 'string' }, ...Object.fromEntries(properties) },
  };
}

function settingSchema(setting: Setting): Json {
  const described = {
    description: setting.source ? `${setting.about} (${setting.source})` : setting.about,
    default: setting.default,
  };
  switch (setting.kind) {
    case 'flag':
      return { type: 'boolean', ...described };
    case 'text':
      return { type: 'string', ...described };
    case 'text?':
      return { type: ['string', 'null'], ...described };
    case 'choice':
      return { enum: setting.choices, ...described };
    default: {
      const { kind, min, max } = setting;
      return {
        type: kind.endsWith('?') ? [kind.slice(0, -1), 'null'] : kind,
        ...(min === undefined ? {} : { minimum: min }),
        ...(max === undefined ? {} : { maximum: max }),
        ...described,
      };
    }
  }
}
