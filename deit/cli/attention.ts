import { mkdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { PhiloxStream, Purpose } from '../../engine/index.ts';
import { writeFileAtomically } from '../../engine/node.ts';
import { makeTransform } from '../data/index.ts';
import type { RgbImage } from '../data/index.ts';
import { decodeImage } from '../data/node/index.ts';
import { likeliest } from '../logits.ts';
import { describeModel } from '../models/registry.ts';
import { drawAttention, enlarge, toPicture } from '../report/examine-model.ts';
import { asTransformer, attentionMaps } from '../report/attention.ts';
import { overlay, tile } from '../report/heat.ts';
import { html, renderPage } from '../report/html.ts';
import { pageAssets } from '../report/node/run-files.ts';
import { toDataUrl, toPng } from '../report/node/pictures.ts';
import { attentionFigures, attentionNote } from '../report/render.ts';
import { classNames } from '../train/node/class-names.ts';
import { evaluationOf } from '../weights/model-card.ts';
import { buildModel } from '../train/node/open-model.ts';
import type { ModelOptions } from './model-files.ts';
import { percent } from './progress.ts';
import { withEngine } from './session.ts';
import type { GlobalOptions } from './session.ts';

interface AttentionOptions extends GlobalOptions, ModelOptions {
  output?: string;
}

/** Small pictures are enlarged to about this many pixels a side. */
const SIDE = 224;

/** `deit attention`: where the class and distillation tokens look, as pictures over the photo. */
export async function attention(file: string, options: AttentionOptions): Promise<void> {
  await withEngine(options, async (engine, say) => {
    const { model, spec, card } = await buildModel(engine, options, say);
    asTransformer(model).eval();
    const { imageSize } = describeModel(spec);
    const pixels = new Float32Array(3 * imageSize * imageSize);
    // The evaluation transform draws nothing.
    const still = new PhiloxStream(0, Purpose.augment);
    makeTransform(evaluationOf(card, imageSize))(await decodeImage(file), still, pixels, 0);
    const maps = await attentionMaps(engine, model, pixels, file);
    const names = classNames(card, model.classes, say);
    const answers = [
      { head: 'class', logits: maps.cls },
      ...(maps.dist ? [{ head: 'distillation', logits: maps.dist }] : []),
    ].map(({ head, logits }) => {
      const [{ class: answer, probability }] = likeliest(logits, 1);
      return { head, answer, name: names[answer], probability };
    });
    for (const { head, name, probability } of answers) say(`${head} head: ${name} (${percent(probability)})`);

    const stem = basename(file, extname(file));
    const folder = options.output ?? `${stem}-attention`;
    await mkdir(folder, { recursive: true });
    const photo = enlarge(toPicture(pixels, imageSize), SIDE);
    const written: string[] = [];
    const write = async (name: string, content: Uint8Array): Promise<void> => {
      const path = join(folder, name);
      await writeFileAtomically(path, [content]);
      written.push(path);
    };
    const map = (values: ArrayLike<number>): RgbImage => overlay(photo, values, maps.side);
    for (const { token, layers, rollout } of maps.tokens) {
      await write(`${token}-rollout.png`, await toPng(tile([[photo, map(rollout)]])));
      if (layers.length > 0) {
        await write(`${token}-layers.png`, await toPng(tile(layers.map((heads) => heads.map(map)))));
      }
    }
    const pictures = await drawAttention(maps, toPicture(pixels, imageSize), null, toDataUrl);
    const lines = answers.map(
      ({ head, name, probability }) => html`<p>${head} head: <b>${name}</b> ${percent(probability)}</p>`,
    );
    const body = html`<h1>${stem}</h1>
      ${lines}${attentionNote}${attentionFigures(pictures, names)}`;
    const assets = { ...(await pageAssets()), scripts: [] };
    await write('attention.html', Buffer.from(renderPage(`Attention on ${stem}`, body, assets)));
    for (const path of written) say(path);
    if (options.json) process.stdout.write(`${JSON.stringify({ image: file, answers, files: written })}\n`);
  });
}
