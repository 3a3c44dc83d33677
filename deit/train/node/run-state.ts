import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DeitError, parseVariantChoices, readSafetensors, syncFolder, writeSafetensors } from '../../../engine/node.ts';
import type { Safetensors, StoredTensor, VariantChoices } from '../../../engine/node.ts';
import { readTensors, saveState, stateValues } from '../../../nn/index.ts';
import type { Ema, Module, Optimizer } from '../../../nn/index.ts';
import { parseInputs } from './inputs.ts';
import type { RunInputs } from './inputs.ts';
import { cardMetadata, readCard } from '../../weights/model-card.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { refuseOversized } from './size-check.ts';

/** Everything that a training step changes. With the recipe and the step number it is all that a run consists of. */
export interface Trained {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly ema: Ema | null;
}

/** Where a run stands. The position in the data and in all random streams follows from the step number. */
export interface Position {
  readonly role: 'teacher' | 'student';
  /** Optimizer steps done, and planned. */
  readonly step: number;
  readonly steps: number;
  /** Wall-clock seconds that the run has taken so far, over all its sessions. */
  readonly seconds: number;
}

/** The folder of the checkpoints in a run folder. */
export const CHECKPOINTS = 'checkpoints';
const KEY = 'deit-webgpu-run';
const VARIANTS = 'deit-webgpu-variants';
const INPUTS = 'deit-webgpu-inputs';
const NAME = /^(teacher|student)-(\d{8,})\.safetensors$/;
const PARTS = ['model', 'optimizer', 'ema', 'scaler'] as const;

/**
 * Writes a checkpoint of the whole run, with the kernel variants that it computes by and what it is trained on, and removes all but the newest `keep`
 * of its role.
 */
export async function saveCheckpoint(
  folder: string,
  keep: number,
  position: Position,
  trained: Trained,
  variants: VariantChoices,
  { card = null, inputs = null }: { card?: ModelCard | null; inputs?: RunInputs | null } = {},
): Promise<string> {
  if (!isPosition(position)) {
    throw new DeitError('bad-argument', 'This is no place that a run can stand at.', {
      found: JSON.stringify(position),
    });
  }
  const { model, optimizer, ema } = trained;
  const parts = [
    await saveState(model),
    await readTensors(optimizer.stateDict()),
    ema ? await readTensors(ema.stateDict()) : new Map<string, StoredTensor>(),
    optimizer.scaler ? await readTensors(optimizer.scaler.stateDict()) : new Map<string, StoredTensor>(),
  ];
  const tensors = new Map<string, StoredTensor>();
  parts.forEach((part, i) => part.forEach((tensor, name) => tensors.set(`${PARTS[i]}/${name}`, tensor)));
  const checkpoints = await checkpointFolder(folder);
  const path = join(checkpoints, `${position.role}-${String(position.step).padStart(8, '0')}.safetensors`);
  const metadata = new Map([
    ...(card ? cardMetadata(card) : []),
    [KEY, JSON.stringify(position)],
    [VARIANTS, JSON.stringify(variants)],
    ...(inputs ? [[INPUTS, JSON.stringify(inputs)] as const] : []),
  ]);
  await writeSafetensors(path, tensors, metadata);
  for (const old of (await listCheckpoints(folder)).filter(({ role }) => role === position.role).slice(keep)) {
    await rm(old.path, { force: true });
  }
  return path;
}

/** The folder of the checkpoints, made, and that durably, where there is none. */
async function checkpointFolder(folder: string): Promise<string> {
  const path = join(folder, CHECKPOINTS);
  try {
    if ((await mkdir(path, { recursive: true })) !== undefined) await syncFolder(folder);
  } catch (cause) {
    throw new DeitError('file-unwritable', 'The folder of the checkpoints cannot be made.', {
      where: path,
      found: cause instanceof Error ? cause.message : String(cause),
      fix: 'remove what is in the way, or choose another folder with --output',
      cause,
    });
  }
  return path;
}

/** Removes what killed runs left half written. Only whoever holds the lock of the folder may do so. */
export async function removeUnfinished(folder: string): Promise<void> {
  for (const path of [folder, join(folder, CHECKPOINTS)]) {
    const names = await readdir(path).catch(() => [] as string[]);
    for (const name of names) if (/\.\d+\.tmp$/.test(name)) await rm(join(path, name), { force: true });
  }
}

/**
 * Checkpoints of a run folder, the furthest first: those of the student come after those of its teacher. None where their
 * folder is not there yet; throws `file-unreadable` where it is and cannot be read.
 */
export const listCheckpoints = (folder: string): Promise<ListedCheckpoint[]> =>
  checkpointsIn(join(folder, CHECKPOINTS));

export interface ListedCheckpoint {
  readonly path: string;
  readonly role: string;
  readonly step: number;
}

/** The same of the folder that holds them, wherever it is. */
export async function checkpointsIn(path: string): Promise<ListedCheckpoint[]> {
  const names = await readdir(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [] as string[];
    throw new DeitError('file-unreadable', 'The folder of the checkpoints cannot be read.', {
      where: path,
      found: cause.message,
      fix: 'make it readable, or move what is in its place away',
      cause,
    });
  });
  return names
    .flatMap((name) => {
      const match = NAME.exec(name);
      return match ? [{ path: join(path, name), role: match[1], step: Number(match[2]) }] : [];
    })
    .sort((a, b) => a.role.localeCompare(b.role) || b.step - a.step);
}

export interface ReadCheckpoint {
  readonly path: string;
  readonly position: Position;
  /** Null in checkpoints of versions that had no tuner. */
  readonly variants: VariantChoices | null;
  /** Of the model; null in checkpoints of versions before it was kept. */
  readonly card: ModelCard | null;
  /** What the run is trained on; null in checkpoints of versions before it was kept. */
  readonly inputs: RunInputs | null;
  /** Tensors of the model or its moving average, under the model's own names; none where there is no average. */
  part(name: 'model' | 'ema'): Map<string, StoredTensor>;
  restore(trained: Trained): void;
}

/**
 * The furthest checkpoint that can be read; null where there is none at all. `onDamaged` hears of those that cannot. Where
 * there are some and none can be read it throws `file-corrupt`: whoever began anew would overwrite what may be saved yet.
 */
export async function latestCheckpoint(
  folder: string,
  onDamaged: (path: string, error: unknown) => void,
): Promise<ReadCheckpoint | null> {
  const problems: string[] = [];
  for (const { path } of await listCheckpoints(folder)) {
    try {
      return await readCheckpoint(path);
    } catch (error) {
      if (!(error instanceof DeitError)) throw error;
      onDamaged(path, error);
      problems.push(`${basename(path)}: ${error.message}`);
    }
  }
  if (problems.length === 0) return null;
  throw new DeitError('file-corrupt', 'None of the checkpoints can be read; the run is left as it is.', {
    where: join(folder, CHECKPOINTS),
    found: problems.join('\n    '),
    fix: 'restore one of them from a copy; or, to begin anew, choose another folder with --output, or remove this one',
  });
}

const readCheckpoint = async (path: string): Promise<ReadCheckpoint> =>
  parseCheckpoint(await readSafetensors(path, refuseOversized(path)), path);

/** Whether a file is a checkpoint of a run, not one of a model alone. */
export const isCheckpoint = ({ metadata }: Safetensors): boolean => metadata.has(KEY);

/** The content of a file as a checkpoint. Throws `file-corrupt`. */
export function parseCheckpoint({ tensors, metadata }: Safetensors, path: string): ReadCheckpoint {
  const position = parsePosition(metadata.get(KEY), path);
  const variants = metadata.get(VARIANTS);
  const inputs = metadata.get(INPUTS);
  const part = (name: (typeof PARTS)[number]) => {
    const prefix = `${name}/`;
    const own = [...tensors].filter(([key]) => key.startsWith(prefix));
    return new Map(own.map(([key, tensor]) => [key.slice(prefix.length), tensor]));
  };
  const values = (name: (typeof PARTS)[number]) => stateValues(part(name));
  return {
    path,
    position,
    variants: variants === undefined ? null : parseVariantChoices(variants, path),
    card: readCard(metadata, path),
    inputs: inputs === undefined ? null : parseInputs(inputs, path),
    part,
    restore({ model, optimizer, ema }) {
      model.loadStateDict(values('model'));
      optimizer.loadStateDict(values('optimizer'), position.step);
      ema?.loadStateDict(values('ema'));
      optimizer.scaler?.loadStateDict(values('scaler'));
    },
  };
}

function parsePosition(text: string | undefined, path: string): Position {
  const position = parsed(text);
  if (isPosition(position)) return position;
  throw new DeitError('file-corrupt', 'The checkpoint does not say where its run stood.', {
    where: path,
    fix: 'it may hold a model only: start a new run from it with --set model.weights=FILE',
  });
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

function isPosition(value: unknown): value is Position {
  if (typeof value !== 'object' || value === null) return false;
  const { role, step, steps, seconds } = value as Partial<Record<keyof Position, unknown>>;
  const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  const isTime = typeof seconds === 'number' && Number.isFinite(seconds) && seconds >= 0;
  return (role === 'teacher' || role === 'student') && whole(step) && whole(steps) && step <= steps && isTime;
}
