/** That what the program tells people to do can be done: settings and options that messages name are there. */
import { readFileSync, readdirSync } from 'node:fs';
import type { Command } from 'commander';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { buildProgram } from '../../deit/cli/program.ts';
import { settingNames } from '../../deit/recipe/settings.ts';

/** Every piece of text in the sources, but for the names of imports. */
function texts(): { file: string; text: string }[] {
  const folder = new URL('../../deit/', import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return files.flatMap((file) => {
    const source = ts.createSourceFile(file, readFileSync(new URL(file, folder), 'utf8'), ts.ScriptTarget.Latest, true);
    const found: { file: string; text: string }[] = [];
    const visit = (node: ts.Node): void => {
      if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return;
      const isText = ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node);
      if (isText) found.push({ file, text: node.text });
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  });
}

const sections = [...new Set(settingNames.map((name) => name.split('.')[0]))].join('|');
const SETTING = new RegExp(`(?<![\\w./-])(?:${sections})\\.[a-z]\\w*(?![\\w.]*\\()`, 'g');
/** Names of files, not of settings. */
const FILES = /\.(safetensors|json|jsonl|lock|bin|onnx|ts|txt|owner)$/;
/** Options of the script that builds the page, npm, curl, apt-get, srun and mpirun. */
const OF_OTHERS = [
  '--page',
  '--omit',
  '--data-binary',
  '--loglevel',
  '--no-install-recommends',
  '--mpi',
  '--bind-to',
  '--map-by',
  '--oversubscribe',
];
/** These name arguments of facebookresearch/deit and CSS variables. */
const NO_ADVICE = ['recipe/settings.ts', 'recipe/reference.ts', 'report/html.ts', 'browser/live-chart.ts'];

it('messages name only settings that there are', () => {
  const named = texts().flatMap(({ file, text }) => (text.match(SETTING) ?? []).map((name) => ({ file, name })));
  const settings = named.filter(({ name }) => !FILES.test(name));
  expect(settings.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['data.links', 'optim.ema', 'model.weights']),
  );
  expect(settings.filter(({ name }) => !(settingNames as readonly string[]).includes(name))).toEqual([]);
});

it('messages name only options that there are', () => {
  const flags = (command: Command): string[] => [
    ...command.options.flatMap(({ long }) => (long ? [long] : [])),
    ...command.commands.flatMap(flags),
  ];
  const known = new Set([...flags(buildProgram()), '--help', ...OF_OTHERS]);
  const named = texts().flatMap(({ file, text }) =>
    NO_ADVICE.includes(file) ? [] : [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([name]) => ({ file, name })),
  );
  expect(named.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['--resume', '--allow-changed-data', '--memory']),
  );
  expect(named.filter(({ name }) => !known.has(name))).toEqual([]);
});
