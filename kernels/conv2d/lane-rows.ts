import type { DeviceProfile } from '../lib/device.ts';
import { range } from '../lib/unroll.ts';

/**
 * Register tiles whose rows share one operand: every invocation needs `rows` values that are the same for the whole
 * workgroup. On a GPU each is a uniform load. On a software adapter a load inside a loop is expensive and a workgroup is one
 * subgroup, so each lane loads the value of one row, and all lanes take it from there.
 */
export interface LaneRows {
  /** Invocations a workgroup. */
  readonly lanes: number;
  readonly enables: readonly string[];
  /** WGSL before the loop: what depends on the row alone, from `row(r)`, a WGSL expression of the row number `r`. */
  prepare(row: (r: string) => string): string;
  /** WGSL in the loop: declares `<name>0..rows-1`, from `load(at)`, where `at` is what `prepare` computed for a row. */
  load(name: string, load: (at: string) => string): string;
}

const GPU_LANES = 64;

export function laneRows(rows: number, device: DeviceProfile): LaneRows {
  const subgroup = device.cpu && device.subgroupSize >= 4 ? device.subgroupSize : 0;
  const all = range(rows);
  if (!subgroup) {
    return {
      lanes: GPU_LANES,
      enables: [],
      prepare: (row) => all.map((r) => `let row${r} = ${row(`${r}u`)};`).join(' '),
      load: (name, load) => all.map((r) => `let ${name}${r} = ${load(`row${r}`)};`).join(' '),
    };
  }
  const loads = all.filter((r) => r % subgroup === 0);
  return {
    lanes: subgroup,
    enables: ['subgroups'],
    prepare: (row) => loads.map((r, j) => `let row${j} = ${row(`(lane + ${r}u)`)};`).join(' '),
    load: (name, load) =>
      [
        ...loads.map((_, j) => `let ${name}_own${j} = ${load(`row${j}`)};`),
        ...all.map((r) => {
          const own = `${name}_own${Math.floor(r / subgroup)}`;
          return `let ${name}${r} = subgroupBroadcast(${own}, ${r % subgroup}u);`;
        }),
      ].join(' '),
  };
}
