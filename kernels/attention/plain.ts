import type { DeviceProfile } from '../lib/device.ts';
import type { Launch } from '../lib/kernel.ts';
import { perInvocation } from '../lib/plain.ts';
import { attentionCost, attentionUniforms, PARTS } from './problem.ts';
import type { AttentionPart, AttentionProblem } from './problem.ts';

/*
 * One invocation per row: a query, or a key in `keyValue`. Scores are computed again wherever they are needed; the sums for a
 * row are private arrays.
 */

/** WGSL: element e of token n of the invocation's head. */
const at = (part: 'q' | 'k' | 'v', token: string, e = 'e'): string =>
  `(image * params.tokens + ${token}) * 3u * side + ${{ q: 0, k: 1, v: 2 }[part]}u * side + head * params.width + ${e}`;
const out = (token: string): string => `(image * params.tokens + ${token}) * side + head * params.width + e`;

const functions = /* wgsl */ `
/** The scaled dot product of the query at element q and the key at element k. */
fn score(q: u32, k: u32) -> f32 {
  var sum = 0.0;
  for (var e = 0u; e < params.width; e++) { sum += qkv[q + e] * qkv[k + e]; }
  return params.scale * sum;
}`;

const eachToken = (body: string): string => `for (var j = 0u; j < params.tokens; j++) {\n  ${body}\n  }`;
const eachElement = (body: string): string => `for (var e = 0u; e < params.width; e++) { ${body} }`;
const scoreOf = (query: string, key: string): string => `score(${at('q', query, '0u')}, ${at('k', key, '0u')})`;

/** dp = dy_query . v_key, for the gradient of a probability. */
const dProbability = (query: string, key: string): string =>
  `var dp = 0.0; ${eachElement(`dp += dy[${out(query)}] * qkv[${at('v', key)}];`)}`;

const bodies = (width: number): Readonly<Record<AttentionPart, string>> => ({
  forward: /* wgsl */ `
  var largest = -1e38;
  ${eachToken(`largest = max(largest, ${scoreOf('row', 'j')});`)}
  var sum = 0.0;
  var total: array<f32, ${width}>;
  ${eachToken(`let p = exp(${scoreOf('row', 'j')} - largest);
    sum += p;
    ${eachElement(`total[e] += p * qkv[${at('v', 'j')}];`)}`)}
  ${eachElement(`y[${out('row')}] = total[e] / sum;`)}
  stats[i] = vec2f(largest, 1.0 / sum);`,

  query: /* wgsl */ `
  var delta_i = 0.0;
  ${eachElement(`delta_i += dy[${out('row')}] * y[${out('row')}];`)}
  var dq: array<f32, ${width}>;
  ${eachToken(`${dProbability('row', 'j')}
    let p = exp(${scoreOf('row', 'j')} - stats[i].x) * stats[i].y;
    let ds = p * (dp - delta_i);
    ${eachElement(`dq[e] += ds * qkv[${at('k', 'j')}];`)}`)}
  ${eachElement(`dqkv[${at('q', 'row')}] = params.scale * dq[e];`)}
  delta[i] = delta_i;`,

  keyValue: /* wgsl */ `
  var dk: array<f32, ${width}>;
  var dv: array<f32, ${width}>;
  ${eachToken(`${dProbability('j', 'row')}
    let of_query = (image * params.heads + head) * params.tokens + j;
    let p = exp(${scoreOf('j', 'row')} - stats[of_query].x) * stats[of_query].y;
    let ds = p * (dp - delta[of_query]);
    ${eachElement(`dk[e] += ds * qkv[${at('q', 'j')}]; dv[e] += p * dy[${out('j')}];`)}`)}
  ${eachElement(`dqkv[${at('k', 'row')}] = params.scale * dk[e]; dqkv[${at('v', 'row')}] = dv[e];`)}`,
});

export const attentionPlain =
  (part: AttentionPart) =>
  (problem: AttentionProblem, device: DeviceProfile): Launch[] => {
    const { batch, tokens, heads, width } = problem;
    const { name, bindings, products } = PARTS[part];
    return [
      perInvocation(
        {
          name: `attention.${name}/plain`,
          bindings: bindings('f32'),
          uniforms: attentionUniforms(problem, batch, tokens),
          functions,
          count: batch * heads * tokens,
          body: /* wgsl */ `
  let row = i % params.tokens;
  let head = i / params.tokens % params.heads;
  let image = i / params.tokens / params.heads;
  let side = params.heads * params.width;
  ${bodies(width)[part]}`,
          cost: attentionCost(problem, batch, products),
        },
        device,
      ),
    ];
  };
