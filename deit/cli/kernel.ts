import {
  DeitError,
  catalog,
  deviceProfiles,
  expectFeatures,
  kernelsOf,
  operatorName,
  problemOf,
} from '../../engine/node.ts';
import type { DeviceProfileName, Launch } from '../../engine/node.ts';
import { formatWgsl } from './format-wgsl.ts';
import type { GlobalOptions } from './session.ts';

interface KernelOptions extends GlobalOptions {
  problem?: string;
  device: DeviceProfileName;
  backward?: boolean;
  variant?: string;
}

/** `deit kernel`: the operators and their variants, or the WGSL of one as a device would run it. Needs no GPU. */
export function kernel(given: string | undefined, options: KernelOptions): void {
  if (given === undefined) process.stdout.write(listing(options.json ?? false));
  else process.stdout.write(shown(operatorName(given), options));
}

/** What an operator takes, and the variants of its kernels, forward and backward. */
function entryOf(name: string) {
  const { folder, sizes, options, backward } = catalog[name];
  const problem = { ...options, ...sizes };
  const variants = (pass: 'forward' | 'backward'): string[] => [
    ...new Set(kernelsOf(name, problem, pass).flatMap((bound) => bound.variants)),
  ];
  return {
    operator: name,
    folder: `kernels/${folder}`,
    problem: sizes,
    options,
    variants: { forward: variants('forward'), ...(backward && { backward: variants('backward') }) },
  };
}

function listing(json: boolean): string {
  const entries = Object.keys(catalog).map(entryOf);
  if (json) return `${JSON.stringify(entries)}\n`;
  const blocks = entries.map(({ operator, folder, problem, options, variants }) => {
    const passes = Object.entries(variants).map(
      ([pass, names]) => `  ${pass}: ${names.length > 0 ? names.join(', ') : 'one kernel'}`,
    );
    const more = Object.keys(options).length > 0 ? `  may have: ${JSON.stringify(options)}\n` : '';
    return `${operator}  (${folder})\n  problem: ${JSON.stringify(problem)}\n${more}${passes.join('\n')}\n`;
  });
  return `${blocks.join('\n')}
Show one with: deit kernel layer_norm --problem '{"rows":8,"width":192}' --device gpu --backward
`;
}

function shown(name: string, { problem: text, device, backward, variant, json }: KernelOptions): string {
  const problem = problemOf(name, text === undefined ? catalog[name].sizes : parsed(text, name));
  const profile = deviceProfiles[device];
  const pass = backward ? 'backward' : 'forward';
  const kernels = kernelsOf(name, problem, pass);
  const names = [...new Set(kernels.flatMap(({ variants }) => variants))];
  if (variant !== undefined && !names.includes(variant)) {
    throw new DeitError('unknown-name', `${name} has no such variant.`, {
      where: `--variant, ${pass}`,
      expected: names.length > 0 ? names.join(', ') : 'none: there is one way to compute it',
      found: variant,
    });
  }
  const launches = kernels.flatMap((bound) =>
    bound.launches(profile, variant !== undefined && bound.variants.includes(variant) ? variant : undefined),
  );
  launches.forEach(({ code, name: kernelName }) => expectFeatures(code, profile, kernelName));
  if (json) return `${JSON.stringify(launches.map((launch) => ({ ...launch, uniforms: uniformsOf(launch) })))}\n`;
  const head = [
    `${name}, ${pass}, on the device "${device}"`,
    `problem: ${JSON.stringify(problem)}`,
    `variants: ${names.length > 0 ? names.join(', ') : 'one way to compute it'}`,
    `formula, reference and variants: kernels/${catalog[name].folder}; test: test/kernels/${catalog[name].folder}.test.ts`,
  ];
  return [head.map((line) => `// ${line}\n`).join(''), ...launches.map(launchText)].join('\n');
}

function parsed(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new DeitError('bad-config', 'The problem is not JSON.', {
      where: `--problem of ${name}`,
      found: text,
      fix: `quote it for the shell, for example --problem '${JSON.stringify(catalog[name].sizes)}'`,
    });
  }
}

/** Names and values of the uniforms, by the declaration in the code. */
function uniformsOf({ code, uniforms }: Launch): Record<string, number> {
  const [, fields = ''] = /struct Params \{ (.*?) \}/.exec(code) ?? [];
  const floats = new Float32Array(uniforms.buffer);
  const signed = new Int32Array(uniforms.buffer);
  const values = { u32: uniforms, i32: signed, f32: floats };
  return Object.fromEntries(
    [...fields.matchAll(/(\w+): (u32|i32|f32)/g)].map(([, name, type], i) => [
      name,
      Number(values[type as keyof typeof values][i].toPrecision(type === 'f32' ? 7 : 10)),
    ]),
  );
}

function launchText(launch: Launch): string {
  const { name, code, bindings, grid, cost, ranges } = launch;
  const uniforms = Object.entries(uniformsOf(launch)).map(([key, value]) => `${key} ${value}`);
  const range = (binding: string): string =>
    ranges[binding] ? `, bytes ${ranges[binding].offset} to ${ranges[binding].offset + ranges[binding].size}` : '';
  const lines = [
    name,
    ...bindings.map(
      ({ name: binding, access, type }, i) => `  binding ${i}: ${binding}, ${access} ${type}${range(binding)}`,
    ),
    ...(uniforms.length > 0 ? [`  uniforms: ${uniforms.join(', ')}`] : []),
    `  grid: ${grid.join(' x ')} workgroups`,
    `  cost: ${Math.round(cost.flops)} FLOP, ${Math.round(cost.bytes)} bytes`,
  ];
  return `${lines.map((line) => `// ${line}\n`).join('')}${formatWgsl(code)}`;
}
