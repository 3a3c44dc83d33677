/** Sums of products of tensors whose dimensions have names, by way of `matmul`. */
import { DeitError } from '../../kernels/lib/errors.ts';
import { numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { matmul } from './matmul.ts';
import { sum } from './reduce.ts';
import { permute, reshape } from './shape.ts';

/** A tensor and the names of its dimensions, a letter each. */
interface Named {
  readonly tensor: Tensor;
  readonly names: string;
}

const mistake = (equation: string, expected: string, found: string): DeitError =>
  new DeitError('bad-argument', 'The equation does not fit.', { where: `einsum('${equation}')`, expected, found });

/** Dimensions in the order of `names`; those that are not there are summed over. */
function arranged({ tensor, names }: Named, order: string): Tensor {
  const left = [...names].filter((name) => order.includes(name)).join('');
  const gone = [...names].flatMap((name, d) => (order.includes(name) ? [] : [d]));
  const kept = gone.length > 0 ? sum(tensor, gone) : tensor;
  return permute(
    kept,
    [...order].map((name) => left.indexOf(name)),
  );
}

/** The product of two, summed over the names that neither the result nor an operand after them has. */
function product(a: Named, b: Named, needed: string): Named {
  const both = [...a.names].filter((name) => b.names.includes(name));
  const batch = both.filter((name) => needed.includes(name)).join('');
  const inner = both.filter((name) => !needed.includes(name)).join('');
  const ownOf = (operand: Named): string =>
    [...operand.names].filter((name) => !both.includes(name) && needed.includes(name)).join('');
  const [rows, columns] = [ownOf(a), ownOf(b)];
  const sizes = new Map([a, b].flatMap(({ tensor, names }) => [...names].map((name, d) => [name, tensor.shape[d]])));
  const shapeOf = (names: string): number[] => [...names].map((name) => sizes.get(name)!);
  const size = (names: string): number => numel(shapeOf(names));
  const left = reshape(arranged(a, batch + rows + inner), [size(batch), size(rows), size(inner)]);
  const right = reshape(arranged(b, batch + inner + columns), [size(batch), size(inner), size(columns)]);
  const names = batch + rows + columns;
  return { tensor: reshape(matmul(left, right), shapeOf(names)), names };
}

/**
 * Einstein's summation: `einsum('bij,bjk->bik', a, b)` is a batched product. Each operand's dimensions have a letter; equal letters
 * are multiplied, and those that the result lacks are summed over. Without `->` the result has the letters that occur once, in
 * alphabetical order. Operands are taken from left to right, two at a time. A letter twice in one operand (a diagonal) and
 * `...` are not supported. PyTorch's `torch.einsum`.
 */
export function einsum(equation: string, ...operands: readonly Tensor[]): Tensor {
  const [left, right, ...more] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  if (more.length > 0 || ![...terms, right ?? ''].every((names) => /^[a-zA-Z]*$/.test(names))) {
    throw mistake(equation, "letters, commas and one '->'", equation);
  }
  if (terms.length !== operands.length) throw mistake(equation, `${terms.length} operands`, String(operands.length));
  const letters = [...terms.join('')];
  const once = [...new Set(letters)].filter((name) => letters.indexOf(name) === letters.lastIndexOf(name)).sort();
  const result = right ?? once.join('');
  if (new Set(result).size !== result.length || ![...result].every((name) => letters.includes(name))) {
    throw mistake(equation, 'a result of letters of the operands, each once', result);
  }
  const sizes = new Map<string, number>();
  const named = operands.map((tensor, i): Named => {
    const names = terms[i];
    if (new Set(names).size !== names.length) throw mistake(equation, 'each letter once in an operand', names);
    if (names.length !== tensor.rank)
      throw mistake(equation, `${names.length} dimensions for ${names}`, tensor.toString());
    [...names].forEach((name, d) => {
      const size = sizes.get(name) ?? tensor.shape[d];
      if (size !== tensor.shape[d]) throw mistake(equation, `${size} elements along ${name}`, tensor.toString());
      sizes.set(name, size);
    });
    return { tensor, names };
  });
  const total = named.reduce((so_far, next, i) => product(so_far, next, result + terms.slice(i + 1).join('')));
  return arranged(total, result);
}
