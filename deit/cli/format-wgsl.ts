/**
 * WGSL with one statement a line, indented by its braces: only white space changes. Kernels are put together of snippets, which
 * read well in their files but not when they meet.
 */
export function formatWgsl(code: string): string {
  const lines: string[] = [];
  let [braces, parentheses] = [0, 0];
  const add = (text: string): void => {
    const line = text.trim();
    if (line === '') return;
    if (line.startsWith('}')) braces -= 1;
    // A blank line around each function.
    const begins = /^(fn |@compute|\/\*\*|\/\/\/)/.test(line) && !/^\s*(\/|@compute)/.test(lines.at(-1) ?? '');
    if (braces === 0 && line !== '}' && (begins || lines.at(-1) === '}')) lines.push('');
    lines.push('  '.repeat(braces + (parentheses > 0 ? 2 : 0)) + line);
    if (line.endsWith('{')) braces += 1;
    if (!line.startsWith('/')) parentheses += count(line, '(') - count(line, ')');
  };
  for (const source of code.split('\n')) {
    const comment = source.search(/\/\/|\/\*/);
    statementsOf(comment < 0 ? source : source.slice(0, comment)).forEach(add);
    if (comment >= 0) add(source.slice(comment));
  }
  return `${lines.join('\n').trim()}\n`;
}

const count = (line: string, letter: string): number => line.split(letter).length - 1;

/** A line cut after each brace, and after each semicolon outside of parentheses. A structure of one line stays whole. */
function statementsOf(line: string): string[] {
  if (/^\s*struct .*\}\s*$/.test(line)) return [line];
  const statements: string[] = [];
  let [start, parentheses] = [0, 0];
  const cut = (end: number): void => {
    statements.push(line.slice(start, end));
    start = end;
  };
  for (let i = 0; i < line.length; i++) {
    const letter = line[i];
    if (letter === '(') parentheses += 1;
    if (letter === ')') parentheses -= 1;
    if (letter === '}') cut(i);
    const closes = letter === '}' && !/^\s*(else|;)/.test(line.slice(i + 1));
    if (letter === '{' || closes || (letter === ';' && parentheses === 0)) cut(i + 1);
  }
  cut(line.length);
  return statements;
}
