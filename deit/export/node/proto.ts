/** Message types of the protocol buffers in deit/assets/proto. Node only. */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { assetPath } from '../../data/node/index.ts';

/** A message type of a .proto file that ships, such as `onnx.ModelProto` of onnx.proto. */
export function messageType(file: string, name: string): protobuf.Type {
  return protobuf.parse(readFileSync(assetPath('proto', file), 'utf8')).root.lookupType(name);
}

/** The bytes of a message given as a plain object with the published field names in camel case. */
export const encode = (type: protobuf.Type, content: object): Uint8Array =>
  type.encode(type.fromObject(content)).finish();
