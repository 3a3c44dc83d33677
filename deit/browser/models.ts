/** The models that the page has: from a file of weights, and back into one. */
import { DeitError, parseSafetensors, serializeSafetensors } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { saveState, stateValues } from '../../nn/index.ts';
import type { EvaluationPipeline } from '../data/index.ts';
import { createModel, describeModel } from '../models/index.ts';
import type { Classifier } from '../models/index.ts';
import { loadWeights } from '../weights/index.ts';
import { cardMetadata, evaluationOf, readCard } from '../weights/model-card.ts';
import type { ModelCard } from '../weights/model-card.ts';

/** A model with what is needed to use it on photos. */
export interface Opened {
  readonly model: Classifier;
  /** Name with options. */
  readonly spec: string;
  readonly pipeline: EvaluationPipeline;
  readonly classes: readonly string[];
  /** What was done to the weights when they were loaded, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Builds the model that a safetensors file is of and loads the file into it. `known` is for files that do not say it themselves.
 * Throws `file-corrupt`, `state-mismatch`, or `bad-config` where nothing says which model it is.
 */
export function openModel(
  engine: Engine,
  name: string,
  bytes: Uint8Array,
  known?: { readonly spec: string; readonly classes: readonly string[] },
): Opened {
  const { tensors, metadata } = parseSafetensors(bytes, name);
  const card = readCard(metadata, name);
  const spec = card?.model ?? known?.spec;
  if (spec === undefined) {
    throw new DeitError('bad-config', 'The weights do not say which model they are of.', {
      where: name,
      fix: 'drop a file that deit train, finetune or export has written, such as student-best.safetensors of a run',
    });
  }
  const model = createModel(engine, spec);
  try {
    const { notes } = loadWeights(model, stateValues(tensors), { source: name });
    model.eval();
    const classes = card?.classes.length ? card.classes : (known?.classes ?? []);
    return { model, spec, pipeline: evaluationOf(card, describeModel(spec).imageSize), classes, notes };
  } catch (error) {
    freeModel(model);
    throw error;
  }
}

/** Gives back the GPU memory of a model. */
export function freeModel(model: Classifier): void {
  for (const tensor of model.stateDict().values()) model.parameters()[0].engine.free(tensor);
}

/** A model as a file that the page, `deit predict` and timm load. */
export async function modelFile(model: Classifier, card: ModelCard): Promise<Blob> {
  return new Blob([serializeSafetensors(await saveState(model), cardMetadata(card))]);
}

/** The files of a run that hold a model, the one to take first. */
const RUN_FILES = ['student-best.safetensors', 'student.safetensors', 'student-ema.safetensors'];

/** What was dropped or chosen: a file of weights, or a photo. Of a folder, its best weights. */
export async function chosenFile(items: DataTransfer): Promise<File | undefined> {
  const files: File[] = [];
  for (const item of [...items.items].map((one) => one.webkitGetAsEntry())) {
    if (item?.isFile) files.push(await fileOf(item as FileSystemFileEntry));
    if (item?.isDirectory) files.push(...(await filesIn(item as FileSystemDirectoryEntry)));
  }
  return preferred(files);
}

/** Weights before photos, and the best weights of a run before others. */
export function preferred(files: readonly File[]): File | undefined {
  const rank = ({ name }: File): number => {
    const known = RUN_FILES.indexOf(name);
    return known >= 0 ? known : isWeights(name) ? RUN_FILES.length : RUN_FILES.length + 1;
  };
  return [...files].sort((a, b) => rank(a) - rank(b))[0];
}

export const isWeights = (name: string): boolean => name.endsWith('.safetensors');

const fileOf = (entry: FileSystemFileEntry): Promise<File> =>
  new Promise((resolve, reject) => entry.file(resolve, reject));

/** The files of weights in a folder. A reader gives its entries in parts. */
async function filesIn(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) break;
    for (const entry of entries) if (entry.isFile && isWeights(entry.name)) files.push(await fileOf(entry as FileSystemFileEntry)); // prettier-ignore
  }
  if (files.length > 0) return files;
  throw new DeitError('bad-data', 'There are no weights in this folder.', {
    where: folder.name,
    expected: RUN_FILES.join(', '),
  });
}
