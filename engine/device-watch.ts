import { DeitError } from '../kernels/lib/errors.ts';

/** Milliseconds within which a loss is known that explains what has just failed. */
const PATIENCE = 50;

/** Turns what a device says of its own accord (errors that no scope caught, its loss) into errors of the engine. */
export class DeviceWatch {
  private lossError: DeitError | null = null;
  private ended = false;

  constructor(
    private readonly device: GPUDevice,
    onError: (error: DeitError) => void,
  ) {
    device.onuncapturederror = (event) => {
      onError(new DeitError('gpu-validation', 'The GPU reported an error.', { found: event.error.message }));
    };
    void device.lost.then((info) => {
      if (this.ended) return;
      this.lossError = new DeitError('device-lost', 'The GPU device was lost.', {
        found: `${info.reason}: ${info.message}`,
        fix: 'open a new engine and resume from the last checkpoint; if it is lost again and again, use smaller batches: systems take a GPU away that one kernel keeps busy for seconds',
      });
      onError(this.lossError);
    });
  }

  /** The error of the loss, if the device is gone or about to be, else null. */
  async loss(): Promise<DeitError | null> {
    const patience = new Promise<void>((resolve) => void setTimeout(resolve, PATIENCE));
    if (!this.ended) await Promise.race([this.device.lost, patience]);
    return this.lossError;
  }

  /** Why nothing more can be read: the device is lost, or else what the GPU says. */
  async explain(cause: unknown): Promise<DeitError> {
    const found = cause instanceof Error ? cause.message : String(cause);
    const error = new DeitError('gpu-validation', 'The content of a tensor could not be read back.', { found, cause });
    return (await this.loss()) ?? error;
  }

  /** From here on a loss is what was asked for. */
  end(): void {
    this.ended = true;
    // The device holds on to its listener, and that to the engine: neither would ever be collected.
    this.device.onuncapturederror = null;
  }
}
