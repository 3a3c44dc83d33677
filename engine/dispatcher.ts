import type { DeviceProfile } from '../kernels/lib/device.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Kernel, Launch } from '../kernels/lib/kernel.ts';
import { LaunchTable } from './gpu/launches.ts';
import type { Recorder } from './gpu/recorder.ts';
import { formatShape } from './tensor-shape.ts';
import type { Tensor } from './tensor.ts';

/** What one call of `Engine.run` recorded: see `Engine.observe`. */
export interface Recorded {
  readonly op: string;
  /** See `Engine.within`. */
  readonly path: string;
  readonly kernel: string;
  /** Tensors that the kernel writes to, by the names of its bindings. */
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/** Turns calls of kernels on tensors into commands of the recorder: `Engine.run`, `Engine.within` and `Engine.observe`. */
export class Dispatcher {
  /** Path of the module whose method is being called, where calls are traced; else empty. */
  path = '';
  private observer: ((recorded: Recorded) => void) | null = null;
  private readonly launches: LaunchTable;

  constructor(
    private readonly recorder: Recorder,
    private readonly profile: DeviceProfile,
  ) {
    this.launches = new LaunchTable(profile);
  }

  within<Result>(path: string, work: () => Result): Result {
    const before = this.path;
    this.path = path;
    try {
      return work();
    } finally {
      this.path = before;
    }
  }

  observe<Result>(observer: (recorded: Recorded) => void, work: () => Result): Result {
    const before = this.observer;
    this.observer = (recorded) => {
      before?.(recorded);
      observer(recorded);
    };
    try {
      return work();
    } finally {
      this.observer = before;
    }
  }

  run<Problem extends object>(
    op: string,
    kernel: Kernel<Problem>,
    problem: Problem,
    tensors: Readonly<Record<string, Tensor>>,
  ): void {
    const launches = this.launches.get(kernel, problem);
    for (const launch of launches) {
      const regions = launch.bindings.map(({ name, access }) => {
        const tensor = tensors[name];
        if (!tensor) throw new DeitError('bad-argument', `The kernel ${launch.name} was given no tensor "${name}".`);
        const { storage, offset, size } = tensor.region;
        if (access === 'read_write') storage.version++;
        const range = launch.ranges[name];
        return range ? { storage, offset: offset + range.offset, size: range.size } : { storage, offset, size };
      });
      const tooLarge = regions.findIndex(({ size }) => size > this.profile.maxBindingSize);
      if (tooLarge >= 0) {
        throw new DeitError('limit-exceeded', 'A tensor exceeds the largest binding of this device.', {
          where: `${op}, binding ${launch.bindings[tooLarge].name} of kernel ${launch.name}`,
          expected: `at most ${this.profile.maxBindingSize} bytes`,
          found: `${regions[tooLarge].size} bytes`,
          fix: 'use a smaller batch with gradient accumulation',
        });
      }
      const shapes = Object.entries(tensors).map(([name, tensor]) => `${name}${formatShape(tensor.shape)}`);
      const where = `${op} (${launch.name}): ${shapes.join(' ')}${this.path && ` in ${this.path}`}`;
      this.recorder.record({ kind: 'dispatch', where, launch, pipeline: this.recorder.pipelines.get(launch), regions });
    }
    this.tellObserver(op, launches, tensors);
  }

  private tellObserver(op: string, launches: readonly Launch[], tensors: Readonly<Record<string, Tensor>>): void {
    const { observer, path } = this;
    if (!observer || launches.length === 0) return;
    const written = launches.flatMap(({ bindings }) => bindings.filter(({ access }) => access === 'read_write'));
    const outputs = Object.fromEntries(written.map(({ name }) => [name, tensors[name]]));
    this.observer = null;
    try {
      observer({ op, path, kernel: launches[0].name, outputs });
    } finally {
      this.observer = observer;
    }
  }
}
