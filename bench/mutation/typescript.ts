import ts from 'typescript';
import type { Mutation, Operator } from './mutation.ts';
import { isWgsl, mutationsOfWgsl } from './wgsl.ts';

const { SyntaxKind } = ts;

const SWAPS: ReadonlyMap<ts.SyntaxKind, readonly [Operator, string]> = new Map([
  [SyntaxKind.PlusToken, ['arithmetic', '-']],
  [SyntaxKind.MinusToken, ['arithmetic', '+']],
  [SyntaxKind.AsteriskToken, ['arithmetic', '/']],
  [SyntaxKind.SlashToken, ['arithmetic', '*']],
  [SyntaxKind.PercentToken, ['arithmetic', '*']],
  [SyntaxKind.PlusEqualsToken, ['arithmetic', '-=']],
  [SyntaxKind.AsteriskEqualsToken, ['arithmetic', '/=']],
  [SyntaxKind.LessThanToken, ['boundary', '<=']],
  [SyntaxKind.LessThanEqualsToken, ['boundary', '<']],
  [SyntaxKind.GreaterThanToken, ['boundary', '>=']],
  [SyntaxKind.GreaterThanEqualsToken, ['boundary', '>']],
  [SyntaxKind.EqualsEqualsEqualsToken, ['condition', '!==']],
  [SyntaxKind.ExclamationEqualsEqualsToken, ['condition', '===']],
  [SyntaxKind.AmpersandAmpersandToken, ['condition', '||']],
  [SyntaxKind.BarBarToken, ['condition', '&&']],
] as const);

/** Calls whose first argument is a condition, and the others what is said where it does not hold. */
const ASSERTION = /^(require|fail|refuse|(this\.)?warn)$/;
/** Statements that print what nothing depends on, and one without which no constructor is valid. */
const NOT_DROPPED = /^(super|say|log|note|print|console\.\w+|(this\.)?warn)\(/;
/** Text for people: two words with a space between. */
const PROSE = /[a-z]{2,}[,;:]? [a-z]{2,}/;

/** Whether a template literal is a sentence, whose insertions are only shown. */
function isMessage(node: ts.Node): boolean {
  if (!ts.isTemplateExpression(node)) return false;
  const text = [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('#');
  return PROSE.test(text) && !isWgsl(node.getText());
}

/** Objects of constants whose members are easily taken for one another, such as `Purpose.shuffle`: name -> members. */
export type Keys = ReadonlyMap<string, readonly string[]>;

/** Collects them from all sources: capitalized names with members that are not called. */
export function keysOf(texts: Iterable<string>): Keys {
  const found = new Map<string, Set<string>>();
  for (const text of texts) {
    for (const [, name, member] of text.matchAll(/\b([A-Z][a-zA-Z]+)\.([a-zA-Z_]+)\b(?!\()/g)) {
      if (member === 'prototype') continue;
      found.set(name, (found.get(name) ?? new Set()).add(member));
    }
  }
  for (const name of ['Math', 'Number', 'Object', 'Symbol', 'Array']) found.delete(name);
  return new Map([...found].map(([name, members]) => [name, [...members].sort()]));
}

/** All mutations of a file's text, in order of the source. */
export function mutationsOf(file: string, text: string, keys: Keys): Mutation[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const mutations: Mutation[] = [];
  const add = (operator: Operator, node: ts.Node, replacement: string): void => {
    mutations.push({ file, operator, start: node.getStart(source), end: node.getEnd(), replacement });
  };
  const textOf = (node: ts.Node): string => node.getText(source);

  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isImportDeclaration(node) || ts.isInterfaceDeclaration(node)) return;
    // What an error or a message says is no arithmetic; that an error is thrown is a statement.
    if (ts.isNewExpression(node) && textOf(node.expression).endsWith('Error')) return;
    if (isMessage(node)) return;
    // How many operations a kernel takes is an estimate, for reports; nothing is computed by it.
    if (ts.isPropertyAssignment(node) && /^flops/.test(textOf(node.name))) return;
    if (ts.isCallExpression(node) && ASSERTION.test(textOf(node.expression))) {
      visit(node.arguments[0]);
      return;
    }
    if (ts.isBinaryExpression(node)) {
      const swap = SWAPS.get(node.operatorToken.kind);
      const ofText = [node.left, node.right].some(
        (side) => ts.isStringLiteralLike(side) || ts.isTemplateExpression(side),
      );
      if (swap && !(ofText && swap[0] === 'arithmetic')) add(swap[0], node.operatorToken, swap[1]);
    } else if (ts.isIfStatement(node)) {
      add('condition', node.expression, `!(${textOf(node.expression)})`);
    } else if (ts.isConditionalExpression(node)) {
      add('condition', node.condition, `!(${textOf(node.condition)})`);
    } else if (ts.isNumericLiteral(node)) {
      add(
        'constant',
        node,
        Number.isInteger(Number(node.text)) ? String(Number(node.text) + 1) : `(${textOf(node)} * 1.5)`,
      );
    } else if (node.kind === SyntaxKind.TrueKeyword || node.kind === SyntaxKind.FalseKeyword) {
      add('constant', node, node.kind === SyntaxKind.TrueKeyword ? 'false' : 'true');
    } else if (ts.isExpressionStatement(node) && !NOT_DROPPED.test(textOf(node))) {
      add('dropped statement', node, ';');
    } else if (ts.isThrowStatement(node)) {
      add('dropped statement', node, ';');
    } else if (ts.isCallExpression(node) && node.arguments.length > 1) {
      swapArguments(node.arguments);
    } else if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const members = keys.get(node.expression.text) ?? [];
      const at = members.indexOf(node.name.text);
      if (at >= 0 && members.length > 1) add('another key', node.name, members[(at + 1) % members.length]);
    }
    ts.forEachChild(node, visit);
  };

  const swapArguments = (args: ts.NodeArray<ts.Expression>): void => {
    const [a, b] = args;
    if (!ts.isIdentifier(a) || !ts.isIdentifier(b)) return;
    mutations.push({
      file,
      operator: 'swapped arguments',
      start: a.getStart(source),
      end: b.getEnd(),
      replacement: `${textOf(b)}, ${textOf(a)}`,
    });
  };

  const visitTemplates = (node: ts.Node): void => {
    // Drawings and pages are no shaders, however many brackets they have.
    if (ts.isTaggedTemplateExpression(node)) return;
    if ((ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node)) && isWgsl(textOf(node))) {
      const parts = ts.isTemplateExpression(node)
        ? [node.head, ...node.templateSpans.map(({ literal }) => literal)]
        : [node];
      for (const part of parts) mutations.push(...mutationsOfWgsl(file, textOf(part), part.getStart(source)));
    }
    ts.forEachChild(node, visitTemplates);
  };

  visit(source);
  visitTemplates(source);
  return mutations.sort((a, b) => a.start - b.start || a.end - b.end);
}
