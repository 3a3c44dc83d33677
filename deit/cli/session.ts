import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEngine, packageRoot } from '../../engine/node.ts';
import type { Engine } from '../../engine/node.ts';
import { DeitError } from '../../engine/index.ts';
import { styled } from './style.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  adapter?: string;
  memory?: string;
  json?: boolean;
}

/** Opens an engine, says on which adapter, runs `work` and closes it whatever happens. */
export async function withEngine<Result>(
  options: GlobalOptions & { seed?: number },
  work: (engine: Engine, say: (line: string) => void) => Promise<Result>,
): Promise<Result> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const engine = await createEngine({
    adapter: options.adapter,
    seed: options.seed,
    memoryBudget: options.memory === undefined ? undefined : parseBytes(options.memory),
  });
  try {
    const { name, software, advice } = engine.adapter;
    say(`adapter: ${name}${software ? ' (software)' : ''}`);
    if (advice) say(styled('dim', `  faster: ${advice}`));
    return await work(engine, say);
  } finally {
    engine.close();
  }
}

/** `2GiB`, `500MB`, or a plain number of bytes. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?$/i.exec(text.trim());
  if (!match) {
    throw new DeitError('bad-config', 'This is not an amount of memory.', {
      found: text,
      fix: 'for example --memory 2GiB',
    });
  }
  const power = ' KMGT'.indexOf(match[2].toUpperCase() || ' ');
  return Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
}

/** A whole or decimal number given as an option. */
export function parseNumber(text: string, option: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new DeitError('bad-config', `${option} takes a number.`, { found: text });
  }
  return value;
}

/** Version of a package that this one uses. */
export function dependencyVersion(name: string): string {
  const { dependencies } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  return dependencies[name] ?? 'none';
}
