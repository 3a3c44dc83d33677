/**
 * Kernels whose tensors lie in memory as f16. A kernel is written for f32; `inF16` turns its launches into ones that bind
 * some of those arrays as f16: what is loaded from them becomes f32 at once, and what is stored is rounded, so that all
 * arithmetic and every sum stay f32.
 *
 *     y[i] = x[i] * 2.0;      becomes      y[i] = vec4h(vec4f(x[i]) * 2.0);
 *
 * A rounding that exceeds the range of f16 gives infinity, which loss scaling relies on.
 */
import { DeitError } from './errors.ts';
import type { Launch } from './kernel.ts';

const HALVES: Readonly<Record<string, readonly [f16: string, full: string]>> = {
  'array<f32>': ['f16', 'f32'],
  'array<vec4f>': ['vec4h', 'vec4f'],
};

/** Bytes of one element of a binding that may be among the halves. */
export const bytesOfElement = (f16: readonly string[] | undefined, name: string): number =>
  f16?.includes(name) ? 2 : 4;

/** The launches with those of their tensors that `names` has as f16. Ranges stay as they are: they count bytes. */
export function inF16(launches: readonly Launch[], names: readonly string[] | undefined): Launch[] {
  if (!names || names.length === 0) return [...launches];
  return launches.map((launch) => {
    let { code } = launch;
    const bindings = launch.bindings.map((binding) => {
      const types = names.includes(launch.tensors[binding.name] ?? binding.name) ? HALVES[binding.type] : undefined;
      if (!types) return binding;
      const [half, full] = types;
      const type = `array<${half}>`;
      code = rewrite(code, binding.name, half, full).replace(
        `${binding.name}: ${binding.type};`,
        `${binding.name}: ${type};`,
      );
      return { ...binding, type };
    });
    if (code === launch.code) return launch;
    if (!code.includes('enable f16;')) code = `enable f16;\n${code}`;
    return { ...launch, name: `${launch.name}_f16`, code, bindings };
  });
}

/** WGSL in which every access to the array `name` converts. */
function rewrite(code: string, name: string, half: string, full: string): string {
  const access = new RegExp(`(?<![\\w.])${name}\\[`, 'g');
  let result = '';
  let done = 0;
  for (let match = access.exec(code); match; match = access.exec(code)) {
    const start = match.index;
    const end = closing(code, start + name.length);
    const index = rewrite(code.slice(start + name.length + 1, end - 1), name, half, full);
    const place = `${name}[${index}]`;
    const assignment = /^\s*([-+*/]?)=(?!=)/.exec(code.slice(end));
    result += code.slice(done, start);
    if (assignment) {
      const from = end + assignment[0].length;
      const to = code.indexOf(';', from);
      const value = rewrite(code.slice(from, to), name, half, full).trim();
      const [, operator] = assignment;
      result += `${place} = ${half}(${operator ? `${full}(${place}) ${operator} (${value})` : value})`;
      done = to;
    } else {
      if (/^(\.\w+|\[[^\]]*\])+\s*[-+*/]?=(?!=)/.test(code.slice(end))) {
        throw new DeitError('bad-argument', 'A part of an f16 vector cannot be assigned to.', { found: place });
      }
      result += `${full}(${place})`;
      done = end;
    }
    access.lastIndex = done;
  }
  return result + code.slice(done);
}

/** Position after the bracket that closes the one at `open`. */
function closing(code: string, open: number): number {
  let depth = 0;
  for (let i = open; i < code.length; i++) {
    if (code[i] === '[') depth++;
    else if (code[i] === ']' && --depth === 0) return i + 1;
  }
  throw new DeitError('bad-argument', 'A bracket in the code of a kernel is not closed.', {
    found: code.slice(open, open + 40),
  });
}
