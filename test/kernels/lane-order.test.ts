/**
 * Barriers: what a workgroup computes must not depend on the order in which its lanes run between them. An adapter runs them in
 * one order, which hides a missing barrier from the comparisons with references; here every kernel with shared memory runs a
 * second time with its lanes in the opposite order, and must write the same bits.
 *
 * @module-tag slow
 */
import { expect, it } from 'vitest';
import type { Engine, Tensor } from '../../engine/node.ts';
import { catalog } from '../../kernels/catalog/index.ts';
import type { DeviceProfile } from '../../kernels/lib/device.ts';
import { deviceProfiles } from '../../kernels/lib/device-profiles.ts';
import { DeitError } from '../../kernels/lib/errors.ts';
import type { Launch } from '../../kernels/lib/kernel.ts';
import { uniform } from '../support/close.ts';
import { useEngine } from '../support/engine.ts';

const engine = useEngine({ debug: false });

/** Operators whose kernels have barriers, with problems of several rounds of what passes through shared memory. */
const PROBLEMS: Readonly<Record<string, object>> = {
  layer_norm: { rows: 20, width: 192 },
  softmax: { outer: 8, width: 197 },
  argmax: { outer: 8, reduce: 1000 },
  sum: { outer: 8, reduce: 1000 },
  amax: { outer: 8, reduce: 1000 },
  cross_entropy: { rows: 200, width: 200 },
  soft_target_cross_entropy: { rows: 8, width: 200 },
  kl_distillation: { rows: 8, width: 200 },
  distilled_cross_entropy: { rows: 8, width: 200 },
  count_correct: { rows: 8, width: 200 },
  matmul: { m: 70, n: 66, k: 150 },
  attention: { batch: 1, tokens: 70, heads: 2, width: 16 },
  batch_norm: { batch: 2, channels: 3, height: 14, width: 14 },
  global_avg_pool: { batch: 2, channels: 3, height: 14, width: 14 },
  scale_channels: { batch: 2, channels: 3, height: 14, width: 14 },
  cumsum: { outer: 2, length: 300 },
  argsort: { outer: 2, length: 300 },
  grad_norm: {},
};
/** The tile of their products is that of matmul, lib/product-tile.ts; of sort and topk the kernel is that of argsort. */
const SAME_KERNELS = ['conv2d', 'conv_transpose2d', 'conv_batch_norm', 'patch_embed', 'sort', 'topk'];
/** Of these only the first kernel: the others take long to compile, and have the same barriers. */
const ONE_KERNEL = ['matmul', 'attention', 'kl_distillation', 'distilled_cross_entropy'];

/** The same kernel, whose first lane goes by the last number. */
function mirrored(launch: Launch): Launch {
  const [, lanes] = /@workgroup_size\((\d+)\)/.exec(launch.code)!;
  const [parameter, lane] = /@builtin\(local_invocation_index\) (\w+): u32/.exec(launch.code)!;
  const body = launch.code.indexOf('{', launch.code.indexOf(parameter)) + 1;
  const code = `${launch.code.slice(0, body)} let ${lane} = ${Number(lanes) - 1}u - mirrored_lane;${launch.code.slice(body)}`;
  return { ...launch, code: code.replace(parameter, '@builtin(local_invocation_index) mirrored_lane: u32') };
}

const sharesMemory = ({ code }: Launch): boolean => code.includes('var<workgroup>');

/** As many as any of the problems has. */
const ELEMENTS = 2 ** 15;
const numbers = uniform(ELEMENTS, 1);
/** Such as labels and indices are. */
const integers = Int32Array.from(numbers, (x) => Math.floor(4 * (x + 1)));

/** What the launches write, from operands of some content: it is compared with what others make of the same. */
async function written(gpu: Engine, launches: readonly Launch[]): Promise<Map<string, Buffer>> {
  const scratch = new Set(launches.flatMap(({ workspace }) => Object.keys(workspace)));
  const operands: Record<string, Tensor> = {};
  const outputs = new Set<string>();
  for (const { bindings, tensors } of launches) {
    for (const { name: own, type, access } of bindings) {
      const name = tensors[own] ?? own;
      if (scratch.has(name)) continue;
      const isFloat = /f32|vec\df/.test(type);
      operands[name] ??= isFloat ? gpu.tensor(numbers) : gpu.tensor(integers, [ELEMENTS], 'i32');
      if (access === 'read_write') outputs.add(name);
    }
  }
  const reads = gpu.scope(() => {
    gpu.run('test', () => [...launches], {}, operands);
    return [...outputs].map((name) => operands[name].read());
  });
  const contents = await Promise.all(reads);
  return new Map([...outputs].map((name, i) => [name, Buffer.from(contents[i].buffer)]));
}

/** Of a variant that does not fit the problem there are none. */
function launchesOf(
  make: (device: DeviceProfile, variant?: string) => Launch[],
  variant: string | undefined,
): Launch[] {
  const device = { ...engine().profile, subgroupSize: 0, pinnedSubgroupSizes: [], cpu: false };
  try {
    return make(device, variant);
  } catch (error) {
    if (variant !== undefined && error instanceof DeitError && error.code === 'bad-argument') return [];
    throw error;
  }
}

it('all operators whose kernels have barriers are here', () => {
  const device = { ...deviceProfiles.gpu, subgroupSize: 0 };
  const found = Object.keys(catalog).filter((name) => {
    const { sizes, options, forward, backward } = catalog[name];
    const problem = { ...options, ...sizes } as never;
    const kernels = [...forward(problem), ...(backward?.(problem) ?? [])];
    return kernels.some((kernel) => kernel.launches(device).some(sharesMemory));
  });
  expect(new Set(found.filter((name) => !SAME_KERNELS.includes(name)))).toEqual(new Set(Object.keys(PROBLEMS)));
});

it.each(Object.keys(PROBLEMS))('%s: the same bits, whichever lane runs first', async (name) => {
  const { sizes, options, forward, backward } = catalog[name];
  const problem = { ...options, ...sizes, ...PROBLEMS[name] } as never;
  const seen = new Set<string>();
  const kernels = ONE_KERNEL.includes(name)
    ? [{ ...forward(problem)[0], variants: [] }]
    : [...forward(problem), ...(backward?.(problem) ?? [])];
  for (const kernel of kernels) {
    for (const variant of [undefined, ...kernel.variants]) {
      const launches = launchesOf((device, own) => kernel.launches(device, own), variant);
      const text = launches.map(({ code }) => code).join('\n');
      if (!launches.some(sharesMemory) || seen.has(text)) continue;
      seen.add(text);
      const expected = await written(engine(), launches);
      const found = await written(
        engine(),
        launches.map((launch) => (sharesMemory(launch) ? mirrored(launch) : launch)),
      );
      for (const [output, bytes] of expected) {
        expect(found.get(output)!.equals(bytes), `${launches[0].name}: ${output}`).toBe(true);
      }
    }
  }
});
