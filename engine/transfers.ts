import { DeitError } from '../kernels/lib/errors.ts';
import { readPromise } from './gpu/reader.ts';
import type { Recorder } from './gpu/recorder.ts';
import type { Tensor } from './tensor.ts';

/** Records what moves the content of tensors, between each other and to and from the host. */
export class Transfers {
  constructor(private readonly recorder: Recorder) {}

  copy(from: Tensor, to: Tensor): void {
    if (from.size !== to.size || from.dtype !== to.dtype) {
      throw new DeitError('shape-mismatch', 'copy() needs equal sizes and dtypes.', {
        expected: to.toString(),
        found: from.toString(),
      });
    }
    const size = Math.ceil(from.bytes / 4) * 4;
    this.recorder.record({ kind: 'copy', from: { ...from.region, size }, to: { ...to.region, size } });
  }

  /** Throws where the step is being recorded for replay. */
  write(tensor: Tensor, data: Uint8Array<ArrayBuffer>, recording: boolean): void {
    if (recording) {
      throw new DeitError('bad-argument', 'Host data cannot be uploaded inside a recorded step: it would be frozen.', {
        where: tensor.toString(),
        fix: 'make a kept tensor before recording, and write to it before each replay',
      });
    }
    if (data.byteLength > 0) this.recorder.record({ kind: 'write', to: tensor.region, data });
  }

  /** Resolves to what `convert` makes of the content. Throws where the step is being recorded for replay. */
  read<Content>(tensor: Tensor, recording: boolean, convert: (content: ArrayBuffer) => Content): Promise<Content> {
    if (recording) {
      throw new DeitError('bad-argument', 'Nothing can be read back inside a recorded step.', {
        where: tensor.toString(),
        fix: 'keep the tensor and read it after the replay',
      });
    }
    const { promise, reader } = readPromise(convert);
    this.recorder.record({ kind: 'read', from: tensor.region, reader });
    return promise;
  }

  /** As `read`, for the engine's own use: errors are not told by it. */
  peek(tensor: Tensor): Promise<ArrayBuffer> {
    const { promise, reader } = readPromise((content) => content, true);
    this.recorder.record({ kind: 'read', from: tensor.region, reader });
    return promise;
  }
}
