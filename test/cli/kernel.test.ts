import { describe, expect, it } from 'vitest';
import { formatWgsl } from '../../deit/cli/format-wgsl.ts';
import { catalog } from '../../kernels/catalog/index.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { lastJson, ran } from '../support/command.ts';
import { rendered } from '../support/rendered.ts';
import { nullDevice } from '../support/subgroup-matrix.ts';

/** Texts that were compiled for a device before: most are the same on all. */
const compiledBefore = new Set<string>();

const withoutSpace = (code: string): string => code.replaceAll(/\s/g, '');

describe.each(Object.entries(deviceProfiles))('every operator on the device "%s"', (_name, device: DeviceProfile) => {
  it('is launches that the device can run, whose code has nothing left out', () => {
    for (const { what, launches } of rendered(device)) {
      expect(launches.length, what).toBeGreaterThan(0);
      for (const { name, code, grid, bindings, cost } of launches) {
        const where = `${what}: ${name}`;
        const statements = code.replaceAll(/\/\/.*|\/\*.*?\*\//g, '');
        expect(/undefined|NaN|\[object|null/.test(statements), where).toBe(false);
        expect(withoutSpace(formatWgsl(code)) === withoutSpace(code), where).toBe(true);
        expect(Math.min(...grid), where).toBeGreaterThanOrEqual(1);
        expect(Math.max(...grid), where).toBeLessThanOrEqual(device.maxWorkgroupsPerDimension);
        expect(bindings.length, where).toBeLessThanOrEqual(device.maxStorageBuffers);
        expect(cost.bytes, where).toBeGreaterThan(0);
        expect(Math.abs(cost.flops), where).toBeLessThan(Infinity);
      }
    }
  });

  it('is WGSL, and stays so when it is formatted', async (test) => {
    const compiler = await nullDevice();
    if (!compiler) return test.skip();
    const codes = new Map<string, string>();
    for (const { what, launches } of rendered(device)) for (const { code } of launches) codes.set(code, what);
    for (const [code, what] of codes) {
      if (compiledBefore.has(code)) continue;
      compiledBefore.add(code);
      for (const text of [code, formatWgsl(code)]) {
        const { messages } = await compiler.createShaderModule({ code: text }).getCompilationInfo();
        expect(messages.map(({ message, lineNum }) => `${what}, line ${lineNum}: ${message}`)).toEqual([]);
      }
    }
  });
});

describe('deit kernel', () => {
  it('lists the operators with their problems and variants', async () => {
    const { out, code } = await ran('kernel');
    expect(code).toBe(0);
    for (const name of ['layer_norm', 'softmax', 'conv2d', 'gelu', 'adamw'])
      expect(out).toMatch(new RegExp(`^${name} `, 'm'));
    expect(out).toContain('problem: {"rows":8,"width":192}');
    const entries = lastJson<{ operator: string }[]>((await ran('kernel', '--json')).out);
    expect(entries.map(({ operator }) => operator)).toEqual(Object.keys(catalog));
  });

  it('shows code, bindings, uniforms, grid and cost, with no adapter at all', async () => {
    const problem = '{"rows":8,"width":192}';
    const { out, code, err } = await ran('--adapter', 'none such', 'kernel', 'layerNorm', '--problem', problem);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('//   binding 0: x, read array<vec4f>');
    expect(out).toMatch(/uniforms: rows 8, width 192, .*eps 0\.000001/);
    // A row a subgroup; eight operations an element, x read and y written.
    expect(out).toContain('grid: 8 x 1 x 1 workgroups');
    expect(out).toContain(`cost: ${8 * 8 * 192} FLOP, ${8 * 8 * 192} bytes`);
    expect(out).toContain('\n  let mean = row_sum(part) / f32(params.width);\n');
  });

  it('shows what another device runs, and the gradients', async () => {
    const gpu = (await ran('kernel', 'matmul', '--problem', '{"m":512,"n":512,"k":512,"f16":true}')).out;
    const cores = ['kernel', 'matmul', '--device', 'tensor-cores', '--problem', '{"m":512,"n":512,"k":512,"f16":true}'];
    expect(gpu).not.toContain('subgroupMatrixMultiplyAccumulate');
    expect((await ran(...cores)).out).toContain('subgroupMatrixMultiplyAccumulate');
    expect((await ran('kernel', 'layer_norm', '--backward')).out).toContain('binding 3: dx, read_write');
    const linear = '{"m":4096,"n":192,"k":96,"transposeB":true,"bias":true}';
    const backward = (await ran('kernel', 'matmul', '--backward', '--problem', linear)).out;
    expect(backward).toMatch(/^\/\/ matmul\/workgroup_tn_64x64_sums$/m);
    expect(backward).toContain('binding 3: row_sums, read_write');
  });

  it('shows the plain variant, which needs no feature of a device', async () => {
    const { out } = await ran('kernel', 'softmax', '--variant', 'plain', '--device', 'any');
    expect(out).toContain('// softmax.forward/plain\n');
    expect(out).toContain('\n    s += accurate_exp(');
    expect((await ran('kernel')).out).toMatch(
      /^softmax .*\n.*\n.*\n {2}forward: cached, subgroup, workgroup, invocation, plain$/m,
    );
  });

  it.each([
    [['layernrm'], /did you mean layer_norm/],
    [['layer_norm', '--problem', '{rows:8}'], /not JSON[\s\S]*--problem '\{"rows":8,"width":192\}'/],
    [['layer_norm', '--problem', '[8]'], /A problem is an object/],
    [['layer_norm', '--problem', '{"rows":8}'], /lacks "width"[\s\S]*rows, width, eps \(0\.000001 if left out\)/],
    [['layer_norm', '--problem', '{"rows":8,"width":192,"cols":1}'], /no field "cols"[\s\S]*for example/],
    [['layer_norm', '--problem', '{"rows":0,"width":192}'], /"rows" is a whole number of at least 1/],
    [['layer_norm', '--problem', '{"rows":8,"width":192,"bias":1}'], /"bias" is true or false/],
    [['gelu', '--problem', '{"n":8,"approximate":"fast"}'], /"approximate" is one of none, tanh/],
    [['add', '--problem', '{"shape":[2],"a":[2],"b":2}'], /"b" is a list of whole numbers/],
    [['argmax', '--backward'], /no backward pass/],
    [['layer_norm', '--variant', 'quick'], /no such variant[\s\S]*expected/],
    [['gelu', '--problem', '{"n":8,"f16":true}', '--device', 'any'], /feature-missing[\s\S]*f16/],
    [['gelu', '--device', 'tpu'], /Allowed choices are gpu, cpu, tensor-cores, any/],
  ])('says what is wrong with %j', async (args, message) => {
    const { code, err, out } = await ran('kernel', ...args);
    expect(err).toMatch(message);
    expect([code, out]).toEqual([1, '']);
  });
});
