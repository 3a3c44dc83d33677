import { createDryEngine, createEngine, deviceProfiles } from '../../engine/node.ts';
import type { DeviceProfileName, Engine } from '../../engine/node.ts';
import { DeitError, nearestName } from '../../engine/index.ts';
import { endProgress, tell } from './progress.ts';
import { styled } from './style.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  adapter?: string;
  memory?: string;
  json?: boolean;
}

/** Opens an engine, says on which adapter (unless `quiet`), runs `work` and closes it whatever happens. */
export async function withEngine<Result>(
  options: GlobalOptions & { seed?: number; quiet?: boolean },
  work: (engine: Engine, say: (line: string) => void) => Promise<Result>,
): Promise<Result> {
  const say = options.quiet ? (): void => undefined : tell;
  const engine = await createEngine({ adapter: options.adapter, ...engineOptions(options) });
  const { name, software, advice } = engine.adapter;
  say(`adapter: ${name}${software ? ' (software)' : ''}`);
  if (advice) say(styled('dim', `  faster: ${advice}`));
  return closing(engine, () => work(engine, say));
}

/** As `withEngine`, for a device that need not be there: nothing runs. */
export async function withDryEngine<Result>(
  device: string,
  options: GlobalOptions & { seed?: number },
  work: (engine: Engine, say: (line: string) => void) => Promise<Result>,
): Promise<Result> {
  if (!Object.hasOwn(deviceProfiles, device)) {
    const names = Object.keys(deviceProfiles);
    const near = nearestName(device, names);
    throw new DeitError('unknown-name', 'No device of this name is known.', {
      where: '--device',
      expected: names.join(', '),
      found: device,
      fix: near && `did you mean ${near}?`,
    });
  }
  const profile = deviceProfiles[device as DeviceProfileName];
  const { engine } = createDryEngine(profile, engineOptions(options));
  tell(`device: ${device}, by what is known of such; nothing runs on it`);
  return closing(engine, () => work(engine, tell));
}

async function closing<Result>(engine: Engine, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } finally {
    endProgress();
    engine.close();
  }
}

const engineOptions = ({ seed, memory }: GlobalOptions & { seed?: number }) => ({
  seed,
  memoryBudget: memory === undefined ? undefined : parseBytes(memory),
});

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

/** What an option that is a number may be; both ends belong to it. */
export interface Range {
  readonly least?: number;
  readonly most?: number;
  readonly whole?: boolean;
}

/** A number given as an option, in its usual notation. Throws `bad-config` where it is none, or outside its range. */
export function parseNumber(text: string, option: string, { least, most, whole = false }: Range = {}): number {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : NaN;
  const isInRange = value >= (least ?? -Infinity) && value <= (most ?? Infinity);
  if (Number.isFinite(value) && isInRange && (!whole || Number.isInteger(value))) return value;
  const kind = whole ? 'a whole number' : 'a number';
  const from = least === undefined ? '' : most === undefined ? ` of at least ${least}` : ` from ${least} to ${most}`;
  throw new DeitError('bad-config', `${option} takes ${kind}${from}.`, { found: text });
}

/** Images at a time. More would need arrays that no machine holds. */
export const MOST_IMAGES = 4096;

/** Images at a time, given as an option. */
export const parseBatchSize = (text: string): number =>
  parseNumber(text, '--batch-size', { least: 1, most: MOST_IMAGES, whole: true });
