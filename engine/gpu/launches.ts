import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Kernel, Launch } from '../../kernels/lib/kernel.ts';

/** Problems remembered of one kernel; a step has a few dozen in all. */
const MAX_PROBLEMS = 4096;

/** What kernels answered, by problem: the same shapes are asked for in every step. */
export class LaunchTable {
  private readonly kernels = new Map<Kernel<never>, Map<string, Launch[]>>();

  constructor(private readonly profile: DeviceProfile) {}

  get<Problem extends object>(kernel: Kernel<Problem>, problem: Problem): Launch[] {
    let byProblem = this.kernels.get(kernel);
    if (!byProblem) this.kernels.set(kernel, (byProblem = new Map<string, Launch[]>()));
    const key = JSON.stringify(problem);
    let launches = byProblem.get(key);
    if (!launches) {
      if (byProblem.size >= MAX_PROBLEMS) byProblem.clear();
      byProblem.set(key, (launches = kernel(problem, this.profile)));
    }
    return launches;
  }
}
