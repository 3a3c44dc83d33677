import type { DeviceProfile } from '../kernels/lib/device.ts';
import { DeitError } from '../kernels/lib/errors.ts';
import type { Access, Allocation, Kernel, Launch } from '../kernels/lib/kernel.ts';
import { LaunchTable } from './gpu/launches.ts';
import type { Region } from './gpu/commands.ts';
import type { Recorder } from './gpu/recorder.ts';
import { expectSynchronous } from './scopes.ts';
import { formatShape } from './tensor-shape.ts';
import type { Recorded, Tensor } from './tensor.ts';

/** Turns calls of kernels on tensors into commands of the recorder: `Engine.run`, `Engine.within` and `Engine.observe`. */
export class Dispatcher {
  /** Path of the module whose method is being called, where calls are traced; else empty. */
  path = '';
  private observer: ((recorded: Recorded) => void) | null = null;
  private readonly launches: LaunchTable;

  constructor(
    private readonly recorder: Recorder,
    private readonly profile: DeviceProfile,
    private readonly allocate: (scratch: Allocation) => Tensor,
    private readonly placeholder: (access: Access) => Tensor,
  ) {
    this.launches = new LaunchTable(profile);
  }

  within<Result>(path: string, work: () => Result): Result {
    expectSynchronous(work, 'within');
    const before = this.path;
    this.path = path;
    try {
      return work();
    } finally {
      this.path = before;
    }
  }

  observe<Result>(observer: (recorded: Recorded) => void, work: () => Result): Result {
    expectSynchronous(work, 'observe');
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
    operands: Readonly<Record<string, Tensor>>,
  ): void {
    const launches = this.launches.get(op, kernel, problem);
    const tensors: Record<string, Tensor> = { ...operands };
    for (const launch of launches) {
      for (const [name, scratch] of Object.entries(launch.workspace)) tensors[name] ??= this.allocate(scratch);
      const regions = launch.bindings.map(({ name, access }) => {
        const given = tensors[launch.tensors[name] ?? name] as Tensor | undefined;
        const tensor = given ?? (launch.unused.includes(name) ? this.placeholder(access) : undefined);
        if (!tensor) throw new DeitError('bad-argument', `The kernel ${launch.name} was given no tensor "${name}".`);
        const { storage, offset, size } = tensor.region;
        const range = launch.ranges[name];
        return range ? { storage, offset: offset + range.offset, size: range.size } : { storage, offset, size };
      });
      this.check(op, launch, regions);
      const shapes = Object.entries(operands).map(([name, tensor]) => `${name}${formatShape(tensor.shape)}`);
      const where = `${op} (${launch.name}): ${shapes.join(' ')}${this.path && ` in ${this.path}`}`;
      this.recorder.record({ kind: 'dispatch', where, launch, pipeline: this.recorder.pipelines.get(launch), regions });
    }
    this.tellObserver(op, launches, operands);
  }

  /** Throws where the device would refuse the launch: it would say so only when the call has long returned. */
  private check(op: string, { name, bindings, grid }: Launch, regions: readonly Region[]): void {
    const where = `${op}, kernel ${name}`;
    const { maxBindingSize, maxStorageBuffers, maxWorkgroupsPerDimension: most } = this.profile;
    if (bindings.length > maxStorageBuffers) {
      throw new DeitError('limit-exceeded', 'A kernel has more bindings than this device allows.', {
        where,
        expected: `at most ${maxStorageBuffers}`,
        found: String(bindings.length),
      });
    }
    if (!grid.every((count) => Number.isInteger(count) && count >= 0 && count <= most)) {
      throw new DeitError('limit-exceeded', 'This is not a grid of workgroups that the device can run.', {
        where,
        expected: `whole numbers of at most ${most}`,
        found: grid.join(' x '),
        fix: 'fold large grids with foldGrid',
      });
    }
    regions.forEach(({ storage, offset, size }, i) => {
      const binding = `${where}, binding ${bindings[i].name}`;
      if (size > maxBindingSize) {
        throw new DeitError('limit-exceeded', 'A tensor exceeds the largest binding of this device.', {
          where: binding,
          expected: `at most ${maxBindingSize} bytes`,
          found: `${size} bytes`,
          fix: 'use a smaller batch with gradient accumulation',
        });
      }
      const clash = regions.findIndex((other, k) => {
        if (k >= i || other.storage !== storage || (bindings[i].access === 'read' && bindings[k].access === 'read'))
          return false;
        // Both written: then they may be different parts of one buffer.
        if (bindings[i].access === bindings[k].access)
          return offset < other.offset + other.size && other.offset < offset + size;
        return true;
      });
      if (clash >= 0) {
        throw new DeitError('bad-argument', 'A kernel writes to memory that is bound to it a second time.', {
          where: binding,
          found: `the same memory as ${bindings[clash].name}`,
          fix: 'give it a result of its own, or copy the operand first',
        });
      }
    });
  }

  /** Scratch memory is no output, and parts of it may never be written; nor is what stands for an operand that is not there. */
  private tellObserver(op: string, launches: readonly Launch[], operands: Readonly<Record<string, Tensor>>): void {
    const { observer, path } = this;
    if (!observer || launches.length === 0) return;
    const written = launches.flatMap((launch) =>
      launch.bindings.filter(({ access }) => access === 'read_write').map(({ name }) => launch.tensors[name] ?? name),
    );
    const outputs = Object.fromEntries(
      written.filter((name) => name in operands).map((name) => [name, operands[name]]),
    );
    this.observer = null;
    try {
      observer({ op, path, kernel: launches[0].name, outputs });
    } finally {
      this.observer = observer;
    }
  }
}
