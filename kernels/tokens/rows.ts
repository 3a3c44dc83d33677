import { ceilDiv, foldGrid, linearWorkgroupWgsl } from '../lib/device.ts';
import type { DeviceProfile } from '../lib/device.ts';
import { input, launch, output, splitRows, u32 } from '../lib/kernel.ts';
import type { Binding, Launch } from '../lib/kernel.ts';
import { prefixOf, tokensOf } from './problem.ts';
import type { TokensEmbeddingProblem, TokensProblem } from './problem.ts';

const WORKGROUP = 64;

function layout(problem: TokensProblem) {
  const { width } = problem;
  const wide = width % 4 === 0;
  return {
    prefix: prefixOf(problem),
    tokens: tokensOf(problem),
    /** Elements of a row, of type `element`. */
    columns: wide ? width / 4 : width,
    element: wide ? 'vec4f' : 'f32',
  };
}

/** One workgroup per row, so that all its invocations take the same branch. Sees `row` and, in `body`, `column`. */
const rowsWgsl = (head: string, body: string): string => /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = linear_workgroup(workgroup, workgroups);
  if (row >= params.rows) { return; }
  ${head}
  for (var column = lane; column < params.columns; column += ${WORKGROUP}u) {
    ${body}
  }
}`;

export function assembleByRow(problem: TokensProblem, device: DeviceProfile): Launch[] {
  const { batch, patches, width, dist } = problem;
  const { prefix, tokens, columns, element } = layout(problem);
  const bytes = { patches: patches * width * 4, y: tokens * width * 4 };
  return splitRows(batch, bytes, device, 'tokens.assemble').map(({ rows, ranges }) =>
    launch({
      name: dist ? 'tokens.assemble/distilled' : 'tokens.assemble',
      bindings: [
        ...[input('patches', element), input('cls', element)],
        ...(dist ? [input('dist', element)] : []),
        ...[input('pos', element), output('y', element)],
      ],
      uniforms: { rows: u32(rows * tokens), tokens: u32(tokens), columns: u32(columns) },
      ranges,
      wgsl: rowsWgsl(
        /* wgsl */ `
  let t = row % params.tokens;
  let source = (row / params.tokens * (params.tokens - ${prefix}u) + t - ${prefix}u) * params.columns;`,
        /* wgsl */ `
    var token: ${element};
    if (t == 0u) { token = cls[column]; }
    ${dist ? 'else if (t == 1u) { token = dist[column]; }' : ''}
    else { token = patches[source + column]; }
    y[row * params.columns + column] = token + pos[t * params.columns + column];`,
      ),
      grid: foldGrid(rows * tokens, device),
      cost: { flops: rows * tokens * width, bytes: rows * (bytes.patches + 2 * bytes.y) },
    }),
  );
}

export function patchGradientByRow(problem: TokensProblem, device: DeviceProfile): Launch[] {
  const { batch, patches, width } = problem;
  const { prefix, tokens, columns, element } = layout(problem);
  const bytes = { dy: tokens * width * 4, dpatches: patches * width * 4 };
  return splitRows(batch, bytes, device, 'tokens.patch_gradient').map(({ rows, ranges }) =>
    launch({
      name: 'tokens.patch_gradient',
      bindings: [input('dy', element), output('dpatches', element)],
      uniforms: {
        rows: u32(rows * patches),
        patches: u32(patches),
        prefix: u32(prefix),
        columns: u32(columns),
      },
      ranges,
      wgsl: rowsWgsl(
        'let source = (row + (row / params.patches + 1u) * params.prefix) * params.columns;',
        'dpatches[row * params.columns + column] = dy[source + column];',
      ),
      grid: foldGrid(rows * patches, device),
      cost: { flops: 0, bytes: 2 * rows * bytes.dpatches },
    }),
  );
}

/** One invocation per element of the embeddings, or four. */
export function embeddingGradientByVector(problem: TokensEmbeddingProblem, device: DeviceProfile): Launch[] {
  const { batch, width, wanted } = problem;
  const { prefix, tokens, columns, element } = layout(problem);
  // Without dpos only the rows of cls and dist are summed.
  const rows = wanted.includes('dpos') ? tokens : prefix;
  const outputs = wanted.map((name): Binding => output(name, element));
  const place = {
    dpos: { when: 'true', element: 'dpos[i]' },
    dcls: { when: 'i < params.columns', element: 'dcls[i]' },
    ddist: { when: 'i >= params.columns && i < 2u * params.columns', element: 'ddist[i - params.columns]' },
  };
  const each = (statement: (element: string) => string): string =>
    wanted.map((name) => `if (${place[name].when}) { ${statement(place[name].element)} }`).join('\n    ');
  return splitRows(batch, { dy: tokens * width * 4 }, device, 'tokens.embedding_gradient').map(
    ({ start, rows: images, ranges }) =>
      launch({
        name: `tokens.embedding_gradient/${wanted.join('_')}`,
        bindings: [input('dy', element), ...outputs],
        uniforms: {
          images: u32(images),
          stride: u32(tokens * columns),
          columns: u32(columns),
          count: u32(rows * columns),
          // A batch that is split adds its later parts to what the first ones wrote.
          add: u32(start > 0 ? 1 : 0),
        },
        ranges,
        wgsl: /* wgsl */ `
${linearWorkgroupWgsl}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = linear_workgroup(workgroup, workgroups) * ${WORKGROUP}u + lane;
  if (i >= params.count) { return; }
  var sum = ${element}(0);
  if (params.add == 1u) {
    ${each((element) => `sum = ${element};`)}
  }
  for (var b = 0u; b < params.images; b++) { sum += dy[b * params.stride + i]; }
  ${each((element) => `${element} = sum;`)}
}`,
        grid: foldGrid(ceilDiv(rows * columns, WORKGROUP), device),
        cost: { flops: images * rows * width, bytes: (images + 1) * rows * width * 4 },
      }),
  );
}
