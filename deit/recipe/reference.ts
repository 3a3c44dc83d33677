import { settingNames, settings } from './settings.ts';
import type { Setting } from './settings.ts';

/** A line of the paper's Table 8 (arXiv 2012.12877 v2; DeiT-B, top-1 at 224 and 384 pixels) and what brings it about. */
export interface Ablation {
  readonly change: string;
  /** Assignments of `--set`, on top of `recipe`. */
  readonly set: readonly string[];
  readonly recipe: 'deit-b-imagenet' | 'deit-b-finetune-384';
  readonly top1: readonly [number, number];
  readonly note?: string;
}

const change = (
  what: string,
  set: readonly string[],
  top1: readonly [number, number],
  note?: string,
  recipe: Ablation['recipe'] = 'deit-b-imagenet',
): Ablation => ({ change: what, set, recipe, top1, note });

const SGD_RATE = 'the paper does not give the learning rate for SGD: choose one with optim.lr';

export const ablations: readonly Ablation[] = [
  change('none', [], [81.8, 83.1]),
  change('SGD in pre-training', ['optim.name=sgd'], [74.5, 77.3], SGD_RATE),
  change('SGD in fine-tuning', ['optim.name=sgd'], [81.8, 83.1], SGD_RATE, 'deit-b-finetune-384'),
  change('no RandAugment', ['augment.policy=none'], [79.6, 80.4], 'colour jitter 0.3 then takes effect, as in timm'),
  change('AutoAugment instead', ['augment.policy=original-mstd0.5'], [81.2, 81.9], 'also v0, originalr, v0r of timm'),
  change('no mixup', ['augment.mixup=0'], [78.7, 79.8]),
  change('no cutmix', ['augment.cutmix=0'], [80.0, 80.6]),
  change('neither mixup nor cutmix', ['augment.mixProbability=0'], [75.8, 76.7]),
  change('no random erasing', ['augment.erasing=0'], [4.3, 0.1], 'the training failed'),
  change('no stochastic depth', ['model.dropPath=0'], [3.4, 0.1], 'the training failed'),
  change('no repeated augmentation', ['augment.repeats=1'], [76.5, 77.4]),
  change('dropout', ['model.name=deit_base_patch16_224 drop_rate=0.1'], [81.3, 83.1], 'rate of the ViT in Table 9'),
  change('moving average of the weights', ['optim.ema=0.99996'], [81.9, 83.1]),
];

/** A recipe that ships: its name and the comment that it begins with. */
export interface ShippedRecipe {
  readonly name: string;
  readonly about: string;
}

/** The reference of recipes in Markdown: what ships, Table 8 of the paper, every setting. */
export function recipeReference(shipped: readonly ShippedRecipe[]): string {
  const lines = [
    '# Recipes',
    '',
    'Made by `deit recipes --reference`; change deit/recipe/settings.ts, deit/recipe/reference.ts or the recipe files instead.',
    '',
    'A recipe is a JSON file (comments and trailing commas allowed) of the settings that differ from the defaults, which are those of',
    "the DeiT paper's Table 9 and of facebookresearch/deit. `deit train --recipe NAME_OR_FILE --set section.key=value` overrides single",
    'settings; the resolved recipe is printed and saved in the run folder. Editors know the settings by `"$schema"`: `deit recipes --schema`.',
    '',
    '## Recipes that ship',
    '',
    ...table(
      ['recipe', 'what'],
      shipped.map(({ name, about }) => [`\`${name}\``, about]),
    ),
    '',
    '## Ablations of the paper',
    '',
    'Table 8 (arXiv 2012.12877 v2), DeiT-B on ImageNet. Every line is one `--set` on `deit train --recipe deit-b-imagenet` (fine-tuning:',
    '`deit-b-finetune-384`). The figures are the paper’s, not ours.',
    '',
    ...table(
      ['change', '--set', 'top-1 at 224', 'at 384', 'note'],
      ablations.map(({ change: what, set, top1, note }) => [
        what,
        set.map((assignment) => `\`${assignment}\``).join(' '),
        top1[0].toFixed(1),
        top1[1].toFixed(1),
        note ?? '',
      ]),
    ),
    '',
    '## Settings',
    '',
    ...table(
      ['setting', 'default', 'values', 'what', 'source'],
      settingNames.map((name) => {
        const setting: Setting = settings[name];
        return [
          `\`${name}\``,
          `\`${JSON.stringify(setting.default)}\``,
          valuesOf(setting),
          setting.about,
          setting.source ?? '',
        ];
      }),
    ),
    '',
    'Sources: tables and sections of the paper; arguments (`--aa` and so on) and files of facebookresearch/deit.',
    '',
  ];
  return lines.join('\n');
}

function valuesOf(setting: Setting): string {
  switch (setting.kind) {
    case 'flag':
      return 'true, false';
    case 'text':
      return 'text';
    case 'text?':
      return 'text or null';
    case 'choice':
      return setting.choices.join(', ');
    default: {
      const { kind, min, max } = setting;
      const range = [min === undefined ? '' : `from ${min}`, max === undefined ? '' : `to ${max}`].filter(Boolean);
      const what = kind.startsWith('integer') ? 'whole number' : 'number';
      return [what, ...range].join(' ') + (kind.endsWith('?') ? ', or null' : '');
    }
  }
}

const table = (titles: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [titles, titles.map(() => '---'), ...rows].map(
    (row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`,
  );
