/**
 * `npm run bench -- --isa [KERNEL]`: every kernel of DeiT's training steps and of the teacher's forward pass and gradients,
 * compiled by Mesa for AMD's cards, none of which need be there: registers, spills, instructions of the innermost loops, and a
 * model of the step by these. With the beginning of a kernel's name: its WGSL and its machine code.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeitError, nearestName } from '../../engine/index.ts';
import type { Launch } from '../../engine/index.ts';
import { formatWgsl } from '../../deit/cli/format-wgsl.ts';
import { compiledCards, profileOf, roofs } from './cards.ts';
import type { CardName } from './cards.ts';
import { distinct } from './programs.ts';
import type { Program } from './programs.ts';
import { stepTime } from './roofline.ts';
import type { StepTime } from './roofline.ts';
import { launchesOf, stepsOf } from './steps.ts';
import type { Step } from './steps.ts';
import { kernelTable, rowOf, stepTable } from './tables.ts';
import type { Row } from './tables.ts';
import { compileFor, findToolchain } from './toolchain.ts';
import type { Compiled } from './toolchain.ts';

const BATCH = 64;
/** For the model of an H100, as a training there would have it. */
const LARGE_BATCH = 256;
const names = Object.keys(compiledCards) as CardName[];

interface Asked {
  readonly kernel: string | null;
  readonly cards: readonly CardName[];
}

/** `[KERNEL] [--cards NAME,NAME]`. */
function asked(options: readonly string[]): Asked {
  const at = options.indexOf('--cards');
  const [kernel = null] = options.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  if (at < 0) return { kernel, cards: kernel === null ? names : ['navi31'] };
  const cards = (options[at + 1] ?? '').split(',');
  for (const card of cards) {
    if (card in compiledCards) continue;
    throw new DeitError('unknown-name', 'There is no such card.', {
      where: 'bench --isa, --cards',
      expected: names.join(', '),
      found: card,
      fix: nearestName(card, names) ?? 'leave it out for all',
    });
  }
  return { kernel, cards: cards as CardName[] };
}

/** What `npm run bench -- --isa` does. */
export async function isa(options: readonly string[]): Promise<void> {
  const { kernel, cards } = asked(options);
  const toolchain = findToolchain();
  console.log(`${toolchain.version}; nothing here was run on a card`);
  if (kernel !== null) {
    for (const card of cards) await show(kernel, card, (programs) => compileFor(card, programs, toolchain));
    return;
  }
  const report: { card: CardName; failures: string[]; rows: Row[] }[] = [];
  const times: StepTime[] = [];
  for (const card of cards) {
    const steps = await stepsOf(profileOf(card), BATCH);
    const roof = roofs.find(({ compiled }) => compiled === card);
    const large = roof?.name.startsWith('H100') ? await stepsOf(profileOf(card), LARGE_BATCH) : [];
    const programs = distinct(launchesOf([...steps, ...large]));
    const compiled = await compileFor(card, programs, toolchain);
    const rows: Row[] = [];
    const failures: string[] = [];
    for (const program of programs) {
      const { code, failure } = compiled.get(program.id)!;
      if (code) rows.push(rowOf(program, code));
      else failures.push(`${program.name} ${program.id}: ${failure}`);
    }
    console.log(`\n== ${card}: ${programs.length} programs, ${failures.length} failed\n${kernelTable(rows)}`);
    for (const failure of failures) console.log(failure);
    report.push({ card, failures, rows });
    if (!roof) continue;
    const codeOf = codes(programs, compiled);
    for (const step of [...steps, ...large]) times.push(stepTime(step, roof, codeOf));
  }
  for (const time of times) console.log(`\n${stepTable(time)}`);
  write({ date: new Date().toISOString().slice(0, 10), compiler: toolchain.version, batch: BATCH, report, times });
}

function codes(programs: readonly Program[], compiled: ReadonlyMap<string, Compiled>) {
  const byText = new Map(programs.map(({ code, id }) => [code, compiled.get(id)?.code ?? undefined]));
  return (launch: Launch) => byText.get(launch.code);
}

interface Report {
  readonly date: string;
  readonly compiler: string;
  readonly batch: number;
  readonly report: readonly { card: CardName; failures: readonly string[]; rows: readonly Row[] }[];
  readonly times: readonly StepTime[];
}

/** A line per kernel, so that two versions can be compared line by line. */
function write({ date, compiler, batch, report, times }: Report): void {
  const folder = new URL('../results/', import.meta.url).pathname;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'isa.json');
  const list = (items: readonly unknown[]): string => `[\n${items.map((item) => JSON.stringify(item)).join(',\n')}\n]`;
  const cards = report.map(
    ({ card, failures, rows }) =>
      `{"card": ${JSON.stringify(card)}, "failures": ${JSON.stringify(failures)}, "kernels": ${list(rows)}}`,
  );
  const head = JSON.stringify({ date, compiler, batch }).slice(1, -1);
  writeFileSync(file, `{${head},\n"cards": [${cards.join(',\n')}],\n"model": ${list(times)}}\n`);
  console.log(`\nwritten to ${file}`);
}

/** Prints the kernels whose names begin so: WGSL, and what became of it. */
async function show(
  kernel: string,
  card: CardName,
  compile: (programs: readonly Program[]) => Promise<Map<string, Compiled>>,
): Promise<void> {
  const steps: Step[] = await stepsOf(profileOf(card), BATCH);
  const all = distinct(launchesOf(steps));
  const programs = all.filter(({ name }) => name.startsWith(kernel));
  if (programs.length === 0) {
    throw new DeitError('unknown-name', 'No kernel of these steps has a name that begins so.', {
      where: 'bench --isa',
      expected: [...new Set(all.map(({ name }) => name))].join(', '),
      found: kernel,
    });
  }
  const compiled = await compile(programs);
  for (const program of programs) {
    const { code, failure } = compiled.get(program.id)!;
    console.log(`\n==== ${program.name} ${program.id}, ${card}\n${formatWgsl(program.code)}`);
    if (!code) {
      console.log(failure);
      continue;
    }
    console.log(
      `---- machine code; the innermost loop with most arithmetic is marked\n${marked(code.lines, code.loop)}`,
    );
    console.log(kernelTable([rowOf(program, code)]));
  }
}

function marked(lines: readonly string[], loop: { from: number; to: number } | null): string {
  let instruction = -1;
  return lines
    .map((line) => {
      if (!line.startsWith('BB')) instruction++;
      const isInside = loop && !line.startsWith('BB') && instruction >= loop.from && instruction <= loop.to;
      return `${isInside ? '|' : ' '} ${line}`;
    })
    .join('\n');
}
