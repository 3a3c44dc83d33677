/**
 * From photos to names and vectors, in three lines. Run it: npx tsx deit/examples/photos.ts [weights] photo.jpg ...
 * `weights` is a run folder or a file of weights; without it the DeiT-Ti that ships is taken.
 */
import { existsSync, statSync } from 'node:fs';
import { openModel } from '../node.ts';

const args = process.argv.slice(2);
const hasWeights = existsSync(args[0]) && (statSync(args[0]).isDirectory() || args[0].endsWith('.safetensors'));
const photos = args.slice(hasWeights ? 1 : 0);

const model = await openModel(hasWeights ? args[0] : undefined);
const answers = await model.classify(photos, { top: 3 });
const vectors = await model.embed(photos);

console.log(JSON.stringify({ answers, vectors: vectors.map((vector) => [...vector]) }));
model.close();
