/** ONNX files. Node only. */
import { packageVersion, writeFileAtomically } from '../../../engine/node.ts';
import { saveState } from '../../../nn/index.ts';
import type { Classifier } from '../../models/classifier.ts';
import { evaluationOf } from '../../weights/model-card.ts';
import type { ModelCard } from '../../weights/model-card.ts';
import { OPSET } from '../onnx-graph.ts';
import { onnxModel } from '../onnx.ts';
import type { OnnxOptions } from '../onnx.ts';
import { preprocessorConfig } from '../preprocessing.ts';
import { encode, messageType } from './proto.ts';

/**
 * Writes a model as an ONNX file (see `onnxModel`), with metadata: `model`, `class_names` (a JSON list in the order of the
 * logits), `preprocessing` (JSON with the keys of transformers' preprocessor_config.json) and `trained_on`. Returns what to
 * tell of it.
 */
export async function writeOnnxFile(
  path: string,
  model: Classifier,
  card: ModelCard,
  { dtype, heads }: Pick<OnnxOptions, 'dtype' | 'heads'>,
): Promise<string> {
  const { imageSize } = card;
  const metadata = {
    model: card.model,
    class_names: JSON.stringify(card.classes),
    preprocessing: JSON.stringify(preprocessorConfig(evaluationOf(card, imageSize))),
    trained_on: card.data,
  };
  const options = { dtype, heads, imageSize, metadata, version: packageVersion() };
  const content = onnxModel(model, await saveState(model), options);
  await writeFileAtomically(path, [encode(messageType('onnx.proto', 'onnx.ModelProto'), content)]);
  return `${dtype}, ONNX opset ${OPSET}`;
}
