/** Classifies a photo and shows where the tokens look. */
import { PhiloxStream, Purpose, parseSafetensors } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { stateValues } from '../../nn/index.ts';
import { evaluationPipeline, makeTransform } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { averageLogits, likeliest } from '../logits.ts';
import { createModel, describeModel } from '../models/index.ts';
import type { Classifier } from '../models/index.ts';
import { enlarge, toPicture } from '../report/examine-model.ts';
import { attentionMaps } from '../report/attention.ts';
import type { AttentionMaps } from '../report/attention.ts';
import { overlay, tile } from '../report/heat.ts';
import { loadWeights } from '../weights/index.ts';
import { element, pictureFigure } from './dom.ts';

/** A model with what is needed to use it on photos. */
export interface Opened {
  readonly model: Classifier;
  readonly imageSize: number;
  readonly classes: readonly string[];
  /** What was done to the weights when they were loaded, one sentence each. */
  readonly notes: readonly string[];
}

/** Builds a model and loads a safetensors file into it. */
export function openModel(engine: Engine, spec: string, bytes: Uint8Array, classes: readonly string[]): Opened {
  const model = createModel(engine, spec);
  const { notes } = loadWeights(model, stateValues(parseSafetensors(bytes, spec).tensors), { source: spec });
  model.eval();
  return { model, imageSize: describeModel(spec).imageSize, classes, notes };
}

/** The photo as the model takes it: [3, size, size], normalised. */
export function prepare(photo: RgbImage, imageSize: number): Float32Array {
  const pixels = new Float32Array(3 * imageSize * imageSize);
  // The evaluation transform draws nothing.
  const still = new PhiloxStream(0, Purpose.augment);
  // Pictures that have the model's size already, such as CIFAR's, are taken whole.
  const whole = photo.width === imageSize && photo.height === imageSize;
  makeTransform(evaluationPipeline({ imageSize, ...(whole ? { cropPct: 1 } : {}) }))(photo, still, pixels, 0);
  return pixels;
}

/** Runs a photo through a model and shows answers and attention in `place`. */
export async function classify(
  engine: Engine,
  { model, imageSize, classes }: Opened,
  photo: RgbImage,
  place: HTMLElement,
): Promise<AttentionMaps> {
  const pixels = prepare(photo, imageSize);
  const maps = await attentionMaps(engine, model, pixels);
  const seen = enlarge(toPicture(pixels, imageSize), 112);
  const answers = document.createElement('div');
  answers.className = 'maps';
  answers.append(pictureFigure(seen, 'as the model sees it'), bars('class head', maps.cls, classes));
  if (maps.dist) {
    answers.append(bars('distillation head', maps.dist, classes));
    answers.append(bars('average of both', averageLogits(maps), classes));
  }
  const attention = document.createElement('div');
  attention.className = 'maps';
  for (const { token, rollout } of maps.tokens) {
    attention.append(pictureFigure(overlay(seen, rollout, maps.side), `rollout of the ${token} token`));
  }
  const all = element('details');
  all.append(element('summary', 'Every block (row, the first on top) and head (column)'));
  const grids = element('div', '', { class: 'maps' });
  for (const { token, layers } of maps.tokens) {
    const rows = layers.map((heads) => heads.map((map) => overlay(seen, map, maps.side)));
    if (rows.length > 0) grids.append(pictureFigure(tile(rows), `${token} token`));
  }
  all.append(grids);
  place.replaceChildren(answers, attention, all);
  return maps;
}

/** The five likeliest classes. */
function bars(title: string, logits: Float32Array, classes: readonly string[]): HTMLElement {
  const table = element('table', '', { class: 'answers' });
  table.append(element('caption', title));
  for (const { class: index, probability } of likeliest(logits, 5)) {
    const row = element('tr');
    const bar = element('td');
    const filled = element('span', '', { class: 'bar' });
    // Not as an attribute: the page's policy takes no styles in attributes.
    filled.style.width = `${(120 * probability).toFixed(1)}px`;
    bar.append(filled);
    row.append(element('td', classes[index] ?? `class ${index}`), bar);
    row.append(element('td', `${(100 * probability).toFixed(1)} %`, { class: 'n' }));
    table.append(row);
  }
  return table;
}
