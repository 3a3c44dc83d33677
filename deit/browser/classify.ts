/** Classifies a photo and shows where the tokens look. */
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import type { Engine } from '../../engine/index.ts';
import { makeTransform } from '../data/index.ts';
import type { EvaluationPipeline, RgbImage } from '../data/index.ts';
import { ForwardPass } from '../forward-pass.ts';
import { averageLogits, likeliest } from '../logits.ts';
import type { HostLogits } from '../logits.ts';
import { VisionTransformer } from '../models/index.ts';
import type { Classifier } from '../models/index.ts';
import { enlarge, toPicture } from '../report/examine-model.ts';
import { attentionMaps } from '../report/attention.ts';
import type { AttentionMaps } from '../report/attention.ts';
import { overlay, tile } from '../report/heat.ts';
import { element, pictureFigure } from './dom.ts';
import type { Opened } from './models.ts';

/** The photo as the model takes it: [3, size, size], normalised. */
export function prepare(photo: RgbImage, pipeline: EvaluationPipeline): Float32Array {
  const pixels = new Float32Array(3 * pipeline.imageSize ** 2);
  // The evaluation transform draws nothing.
  const still = new PhiloxStream(0, Purpose.augment);
  makeTransform(pipeline)(photo, still, pixels, 0);
  return pixels;
}

/** Runs a photo through a model and shows answers, and of a transformer its attention, in `place`. */
export async function classify(
  engine: Engine,
  { model, pipeline, classes }: Opened,
  photo: RgbImage,
  place: HTMLElement,
): Promise<HostLogits> {
  const pixels = prepare(photo, pipeline);
  const isTransformer = model instanceof VisionTransformer;
  const maps = isTransformer ? await attentionMaps(engine, model, pixels) : null;
  const logits = maps ?? (await logitsOf(engine, model, pixels, pipeline.imageSize));
  const seen = enlarge(toPicture(pixels, pipeline.imageSize), 112);
  const answers = document.createElement('div');
  answers.className = 'maps';
  const head = (title: string, values: Float32Array): HTMLElement =>
    bars(
      title,
      likeliest(values, 5).map(({ class: index, probability }) => ({
        name: classes[index] ?? `class ${index}`,
        probability,
      })),
    );
  answers.append(pictureFigure(seen, 'as the model sees it'), head('class head', logits.cls));
  if (logits.dist) {
    answers.append(head('distillation head', logits.dist), head('average of both', averageLogits(logits)));
  }
  place.replaceChildren(answers, ...(maps ? attentionPictures(maps, seen) : []));
  return logits;
}

/** What somewhere else has answered for a photo. */
export function showAnswers(photo: RgbImage, title: string, answers: readonly Named[], place: HTMLElement): void {
  const shown = element('div', '', { class: 'maps' });
  shown.append(pictureFigure(photo, 'the photo'), bars(title, answers));
  place.replaceChildren(shown);
}

async function logitsOf(engine: Engine, model: Classifier, pixels: Float32Array, size: number): Promise<HostLogits> {
  const pass = new ForwardPass(engine, model, 1, size);
  try {
    return await pass.run(pixels, () => 'the photo');
  } finally {
    pass.release();
  }
}

function attentionPictures(maps: AttentionMaps, seen: RgbImage): HTMLElement[] {
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
  return [attention, all];
}

interface Named {
  readonly name: string;
  readonly probability: number;
}

/** Classes and their probabilities, as bars. */
function bars(title: string, answers: readonly Named[]): HTMLElement {
  const table = element('table', '', { class: 'answers' });
  table.append(element('caption', title));
  for (const { name, probability } of answers) {
    const row = element('tr');
    const bar = element('td');
    const filled = element('span', '', { class: 'bar' });
    // Not as an attribute: the page's policy takes no styles in attributes.
    filled.style.width = `${(120 * probability).toFixed(1)}px`;
    bar.append(filled);
    row.append(element('td', name), bar);
    row.append(element('td', `${(100 * probability).toFixed(1)} %`, { class: 'n' }));
    table.append(row);
  }
  return table;
}
