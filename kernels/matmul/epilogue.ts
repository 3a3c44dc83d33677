import { geluWgsl } from '../gelu/index.ts';
import type { Binding } from '../lib/kernel.ts';
import { input, output } from '../lib/kernel.ts';

/**
 * What happens to scale * sum before it is written, in this order:
 *
 *     v = scale * sum + bias[j]            (bias)
 *     v = v * row_scale[i]                 (rowScale, f32 [m]; 0 where that is 0, whatever v is)
 *     v = v + residual[i, j]               (residual, laid out like y)
 *     v = v * gelu'(pre[i, j])             (geluGradient; pre is laid out like y)
 *     y = v, or y + v                      (accumulate)
 *     activated[i, j] = gelu(v)            (gelu, exact; y keeps what the backward pass needs)
 *     activated[i, j] = gelu(pre[i, j])    (gelu with geluGradient: what the backward pass needs once more)
 */
export interface Epilogue {
  readonly bias?: boolean;
  readonly rowScale?: boolean;
  readonly residual?: boolean;
  readonly geluGradient?: boolean;
  readonly accumulate?: boolean;
  readonly gelu?: boolean;
}

/** For a variant that decides at run time. */
export const EVERY_EPILOGUE: Epilogue = {
  bias: true,
  rowScale: true,
  residual: true,
  geluGradient: true,
  accumulate: true,
  gelu: true,
};

/** Bindings that the epilogue adds, of vectors or scalars like y but for the scales of rows. */
export function epilogueBindings(epilogue: Epilogue, element: string): Binding[] {
  const bindings: Binding[] = [];
  if (epilogue.bias) bindings.push(input('bias', element));
  if (epilogue.rowScale) bindings.push(input('row_scale'));
  if (epilogue.residual) bindings.push(input('residual', element));
  if (epilogue.geluGradient) bindings.push(input('pre', element));
  if (epilogue.gelu) bindings.push(output('activated', element));
  return bindings;
}

/** WGSL functions that the statements of `epilogueWgsl` call. */
export const epilogueFunctions = (epilogue: Epilogue): string =>
  epilogue.gelu || epilogue.geluGradient
    ? `${geluWgsl('none')}
fn gate1(x: f32) -> f32 { return gate(vec4f(x)).x; }
fn slope1(x: f32) -> f32 { return slope(vec4f(x)).x; }
`
    : '';

export interface EpilogueOperands {
  /** Whether the values are vec4f (else f32). */
  readonly vector: boolean;
  /** WGSL of the sum, of its row, of its index in y, and of its column in the same units. */
  readonly sum: string;
  readonly row: string;
  readonly index: string;
  readonly column: string;
}

/** WGSL: the statements that write a sum to y. */
export function epilogueWgsl(epilogue: Epilogue, { vector, sum, row, index, column }: EpilogueOperands): string {
  const [gate, slope] = vector ? ['gate', 'slope'] : ['gate1', 'slope1'];
  let value = `params.scale * ${sum}`;
  if (epilogue.bias) value += ` + bias[${column}]`;
  if (epilogue.rowScale) value = scaledRow(value, row, vector ? 'vec4f' : 'f32');
  if (epilogue.residual) value += ` + residual[${index}]`;
  if (epilogue.geluGradient) {
    const again = epilogue.gelu ? `activated[${index}] = before * ${gate}(before);` : '';
    return `{ let before = pre[${index}]; y[${index}] = (${value}) * ${slope}(before); ${again} }`;
  }
  if (epilogue.accumulate) value = `y[${index}] + ${value}`;
  if (!epilogue.gelu) return `y[${index}] = ${value};`;
  return `{ let value = ${value}; y[${index}] = value; activated[${index}] = value * ${gate}(value); }`;
}

/** WGSL: `value` times the scale of its row. What is scaled by 0 may be infinite. */
export const scaledRow = (value: string, row: string, type: string): string =>
  `select(${type}(), (${value}) * row_scale[${row}], row_scale[${row}] != 0.0)`;

/**
 * WGSL: the statements that write `value`, four neighbours in row `row` of y from `column` and `index` on, as a vector or
 * one by one.
 */
export const storeFour = (epilogue: Epilogue, vector: boolean, row: string): string =>
  vector
    ? epilogueWgsl(epilogue, { vector, sum: 'value', row, index: '(index / 4)', column: '(column / 4)' })
    : `for (var j = 0u; j < 4u; j++) { if (column + j < params.n) { ${epilogueWgsl(epilogue, {
        vector,
        sum: 'value[j]',
        row,
        index: '(index + j)',
        column: '(column + j)',
      })} } }`;
