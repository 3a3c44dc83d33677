/** What a comparison found, and what it says about the goals. */
import type { CaseResult, Library } from './libraries.ts';

export interface LibraryResult {
  readonly label: string;
  readonly kind: Library['kind'];
  readonly version: string | null;
  /** Processes that the medians are over. */
  readonly processes: number;
  readonly cases: Readonly<Record<string, CaseResult>>;
  readonly failures: Readonly<Record<string, string>>;
}

export interface Comparison {
  readonly date: string;
  readonly adapter: string;
  readonly machine: string;
  readonly node: string;
  readonly dawn: string;
  /** GFLOP/s of the hand-written matmul 1024^3, through the run. */
  readonly yardstick: readonly number[];
  readonly libraries: readonly LibraryResult[];
}

/** A factor over the fastest WebGPU peer. */
export interface SpeedGoal {
  readonly case: string;
  readonly label: string;
  readonly times: number;
}

export const SPEED_GOALS: readonly SpeedGoal[] = [
  { case: 'matmul 1024^3', label: 'matmul 1024 x 1024 x 1024', times: 5 },
  { case: 'fc1 1576x192x768', label: 'matmul 1576 x 192 x 768', times: 4.5 },
  { case: 'fc2 1576x768x192', label: 'matmul 1576 x 768 x 192', times: 4.5 },
  { case: 'QK^T 24x197x64x197', label: 'QKᵀ, 24 of 197 x 64 x 197', times: 6 },
  { case: 'softmax 4728x197', label: 'softmax 4728 x 197', times: 3 },
  { case: 'layernorm 1576x192', label: 'layer norm 1576 x 192', times: 2 },
  { case: 'gelu 1576x768', label: 'GELU 1576 x 768', times: 1.5 },
  { case: 'patchconv 8x3x224->192', label: 'patch convolution 8 x 3 x 224²', times: 4 },
  { case: 'DeiT-Ti fwd b1', label: 'DeiT-Ti forward, batch 1', times: 4.5 },
  { case: 'DeiT-Ti fwd b8', label: 'DeiT-Ti forward, batch 8', times: 4.5 },
  { case: 'train step b16', label: 'training step, batch 16', times: 5 },
  { case: 'tiny train', label: 'training step, host cost alone', times: 8 },
];

/** Figures of this project alone. */
interface OwnGoal {
  readonly label: string;
  readonly atMost: number;
  readonly unit: string;
  readonly value: (own: Readonly<Record<string, CaseResult>>) => number | null | undefined;
}

const OWN_GOALS: readonly OwnGoal[] = [
  {
    label: 'dispatches of a training step',
    atMost: 350,
    unit: '',
    value: (own) => own['train step b16']?.dispatches,
  },
  { label: 'submits of a training step', atMost: 4, unit: '', value: (own) => own['train step b16']?.submits },
  { label: 'GPU buffers, forward batch 8', atMost: 76, unit: ' MiB', value: (own) => own['DeiT-Ti fwd b8']?.gpuMiB },
  { label: 'GPU buffers, training', atMost: 230, unit: ' MiB', value: (own) => own['train step b16']?.gpuMiB },
  {
    label: 'first training step, cold',
    atMost: 6,
    unit: ' s',
    value: (own) => (own['train step b16'] ? own['train step b16'].firstMs / 1000 : null),
  },
];
const YARDSTICK_GOAL = 1.7;

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

export interface Ratio extends SpeedGoal {
  readonly ownMs: number;
  readonly peerMs: number;
  readonly peer: string;
  readonly ratio: number;
}

/** Each goal's factor over the fastest WebGPU peer, for the cases that were measured. */
export function ratios({ libraries }: Comparison): Ratio[] {
  const own = libraries.find(({ kind }) => kind === 'own');
  return SPEED_GOALS.flatMap((goal) => {
    const ownMs = own?.cases[goal.case]?.ms;
    const rivals = libraries
      .filter(({ kind, cases }) => kind === 'webgpu' && cases[goal.case])
      .map(({ label, cases }) => ({ label, ms: cases[goal.case].ms }))
      .sort((a, b) => a.ms - b.ms);
    if (ownMs === undefined || rivals.length === 0) return [];
    const [{ label: peer, ms: peerMs }] = rivals;
    return [{ ...goal, ownMs, peerMs, peer, ratio: peerMs / ownMs }];
  });
}

/** Goals on a processor: this project over the fastest WebAssembly in every case, and over native code. */
const WASM_GOAL = 1.2;
const NATIVE_GOAL = 0.5;

/** Lines of a table: what people without a GPU also have, and how fast this project is beside it. */
function processorTable({ libraries }: Comparison): string[] {
  const own = libraries.find(({ kind }) => kind === 'own')?.cases ?? {};
  const fastest = (name: string, isNative: boolean): number =>
    Math.min(
      ...libraries
        .filter(({ kind, label, cases }) => kind === 'cpu' && /native/.test(label) === isNative && cases[name])
        .map(({ cases }) => cases[name].ms),
    );
  const rows = Object.entries(own).flatMap(([name, { ms }]) => {
    const [wasm, native] = [fastest(name, false), fastest(name, true)];
    if (!Number.isFinite(wasm) && !Number.isFinite(native)) return [];
    const cell = (rival: number, goal: number): string =>
      Number.isFinite(rival) ? `${(rival / ms).toFixed(2)} x: ${verdict(rival / ms >= goal)}` : '-';
    return [row([name, short(ms), cell(wasm, WASM_GOAL), cell(native, NATIVE_GOAL)])];
  });
  if (rows.length === 0) return [];
  const head = ['case', 'ours, ms', `WebAssembly / ours, goal ${WASM_GOAL}`, `native / ours, goal ${NATIVE_GOAL}`];
  return ['', row(head), row(['---', '---:', '---:', '---:']), ...rows];
}

const short = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
const verdict = (isReached: boolean): string => (isReached ? 'reached' : 'short');
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** The tables, as Markdown. */
export function tables(comparison: Comparison): string {
  const { libraries, yardstick, adapter, machine, date, node, dawn } = comparison;
  const own = libraries.find(({ kind }) => kind === 'own')?.cases ?? {};
  const names = [...new Set(libraries.flatMap(({ cases }) => Object.keys(cases)))];
  const found = new Map(ratios(comparison).map((ratio) => [ratio.case, ratio]));
  const lines = [
    `${date}, ${adapter}, ${machine}, Node ${node}, Dawn ${dawn}`,
    `yardstick: ${yardstick.map((rate) => rate.toFixed(1)).join(', ')} GFLOP/s through the run`,
    '',
    'ms, warm, medians; * where other processes disturbed the samples',
    row([
      'case',
      ...libraries.map(({ label, version }) => `${label} ${version ?? ''}`),
      'fastest WebGPU / ours',
      'goal',
    ]),
    row(['---', ...libraries.map(() => '---:'), '---:', '---']),
    ...names.map((name) => {
      const ratio = found.get(name);
      const cells = libraries.map(({ cases }) =>
        cases[name] ? short(cases[name].ms) + (cases[name].isNoisy ? '*' : '') : '-',
      );
      const goal = ratio ? `${ratio.times} x: ${verdict(ratio.ratio >= ratio.times)}` : '';
      return row([name, ...cells, ratio ? `${ratio.ratio.toFixed(1)} x` : '', goal]);
    }),
    '',
    row(['ours alone', 'found', 'goal', '']),
    row(['---', '---:', '---:', '---']),
  ];
  for (const { label, atMost, unit, value } of OWN_GOALS) {
    const amount = value(own);
    if (typeof amount !== 'number') continue;
    lines.push(row([label, `${short(amount)}${unit}`, `<= ${atMost}${unit}`, verdict(amount <= atMost)]));
  }
  const rate = own['matmul 1024^3']?.gflops;
  if (rate && yardstick.length > 0) {
    const factor = rate / median(yardstick);
    const cells = [`${factor.toFixed(2)} x`, `>= ${YARDSTICK_GOAL} x`, verdict(factor >= YARDSTICK_GOAL)];
    lines.push(row(['matmul 1024^3 over the yardstick', ...cells]));
  }
  lines.push(...processorTable(comparison));
  const detail = (title: string, cell: (one: CaseResult) => string): void => {
    lines.push('', title, row(['case', ...libraries.map(({ label }) => label)]));
    lines.push(row(['---', ...libraries.map(() => '---:')]));
    for (const name of names) {
      lines.push(row([name, ...libraries.map(({ cases }) => (cases[name] ? cell(cases[name]) : '-'))]));
    }
  };
  detail('first result, ms (upload, compilation, first run)', ({ firstMs }) => short(firstMs));
  detail('dispatches / submits', (one) => (one.dispatches === null ? '-' : `${one.dispatches} / ${one.submits}`));
  detail('most bytes in GPU buffers so far in the process, MiB', ({ gpuMiB }) =>
    gpuMiB === null ? '-' : short(gpuMiB),
  );
  for (const { label, failures } of libraries) {
    for (const [name, failure] of Object.entries(failures)) lines.push('', `${label}, ${name}: ${failure}`);
  }
  return lines.join('\n');
}
