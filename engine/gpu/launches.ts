import { DeitError } from '../../kernels/lib/errors.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import type { Kernel, Launch } from '../../kernels/lib/kernel.ts';

/** Problems remembered of one kernel; a step has a few dozen in all. */
const MAX_PROBLEMS = 4096;

/** What kernels answered, by problem: the same shapes are asked for in every step. */
export class LaunchTable {
  private readonly kernels = new Map<Kernel<never>, Map<string, Launch[]>>();

  constructor(private readonly profile: DeviceProfile) {}

  get<Problem extends object>(op: string, kernel: Kernel<Problem>, problem: Problem): Launch[] {
    let byProblem = this.kernels.get(kernel);
    if (!byProblem) this.kernels.set(kernel, (byProblem = new Map<string, Launch[]>()));
    const key = isKept(problem) ? JSON.stringify(problem) : JSON.stringify(problem, distinctly);
    let launches = byProblem.get(key);
    if (!launches) {
      if (byProblem.size >= MAX_PROBLEMS) byProblem.clear();
      launches = kernel(problem, this.profile);
      if (!Array.isArray(launches)) {
        throw new DeitError('bad-argument', 'A kernel returns a list of launches.', {
          where: `${op}, kernel ${kernel.name}`,
          found: String(launches),
        });
      }
      byProblem.set(key, launches);
    }
    return launches;
  }
}

/** JSON writes NaN and infinities as null and -0 as 0: problems that differ in these would be taken for one. */
const isKeptNumber = (value: number): boolean => Number.isFinite(value) && !Object.is(value, -0);

/** Whether JSON keeps every number in it. */
function isKept(value: unknown): boolean {
  if (typeof value === 'number') return isKeptNumber(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(isKept);
}

const distinctly = (_: string, value: unknown): unknown =>
  typeof value === 'number' && !isKeptNumber(value) ? `the number ${Object.is(value, -0) ? '-0' : value}` : value;
