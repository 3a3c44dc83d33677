import type { DeviceProfile } from '../lib/device.ts';
import { input, output, u32 } from '../lib/kernel.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { prefixOf, tokensOf } from './problem.ts';
import type { TokensEmbeddingProblem, TokensProblem } from './problem.ts';

/** Largest tensor in bytes: y, or dy. */
export const tokensBytes = (problem: TokensProblem): number => 4 * problem.batch * tokensOf(problem) * problem.width;

const uniformsOf = (problem: TokensProblem) => ({
  tokens: u32(tokensOf(problem)),
  prefix: u32(prefixOf(problem)),
  width: u32(problem.width),
});

/** One invocation per element of y. */
export function assemblePlain(problem: TokensProblem, device: DeviceProfile): Launch[] {
  const { batch, width, dist } = problem;
  const n = batch * tokensOf(problem) * width;
  const kernel = perInvocation(
    {
      name: 'tokens.assemble/plain',
      bindings: [...[input('patches'), input('cls')], ...(dist ? [input('dist')] : []), ...[input('pos'), output('y')]],
      uniforms: uniformsOf(problem),
      count: n,
      body: /* wgsl */ `
  let c = i % params.width;
  let t = i / params.width % params.tokens;
  let b = i / params.width / params.tokens;
  var token = 0.0;
  if (t == 0u) { token = cls[c]; }
  ${dist ? 'else if (t == 1u) { token = dist[c]; }' : ''}
  else { token = patches[(b * (params.tokens - params.prefix) + t - params.prefix) * params.width + c]; }
  y[i] = token + pos[t * params.width + c];`,
      cost: { flops: n, bytes: 8 * n + 4 * batch * problem.patches * width },
    },
    device,
  );
  return [kernel];
}

/** One invocation per element of dpatches. */
export function patchGradientPlain(problem: TokensProblem, device: DeviceProfile): Launch[] {
  const { batch, patches, width } = problem;
  const n = batch * patches * width;
  const kernel = perInvocation(
    {
      name: 'tokens.patch_gradient/plain',
      bindings: [input('dy'), output('dpatches')],
      uniforms: uniformsOf(problem),
      count: n,
      body: /* wgsl */ `
  let row = i / params.width;
  let b = row / (params.tokens - params.prefix);
  dpatches[i] = dy[(row + (b + 1u) * params.prefix) * params.width + i % params.width];`,
      cost: { flops: 0, bytes: 8 * n },
    },
    device,
  );
  return [kernel];
}

/** One invocation per element of the embeddings, which sums it over the batch. */
export function embeddingGradientPlain(problem: TokensEmbeddingProblem, device: DeviceProfile): Launch[] {
  const { batch, width, wanted } = problem;
  const writes = {
    dpos: 'dpos[i] = sum;',
    dcls: 'if (i < params.width) { dcls[i] = sum; }',
    ddist: 'if (i >= params.width && i < 2u * params.width) { ddist[i - params.width] = sum; }',
  };
  const n = tokensOf(problem) * width;
  const kernel = perInvocation(
    {
      name: `tokens.embedding_gradient/plain_${wanted.join('_')}`,
      bindings: [input('dy'), ...wanted.map((name) => output(name))],
      uniforms: { ...uniformsOf(problem), batch: u32(batch) },
      count: n,
      body: /* wgsl */ `
  var sum = 0.0;
  for (var b = 0u; b < params.batch; b++) { sum += dy[b * params.tokens * params.width + i]; }
  ${wanted.map((name) => writes[name]).join('\n  ')}`,
      cost: { flops: batch * n, bytes: 4 * (batch + 1) * n },
    },
    device,
  );
  return [kernel];
}
