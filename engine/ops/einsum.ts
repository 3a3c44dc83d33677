/** Sums of products of tensors whose dimensions have names, by way of `matmul`. */
import { DeitError } from '../../kernels/lib/errors.ts';
import { numel } from '../tensor-shape.ts';
import type { Tensor } from '../tensor.ts';
import { matmul } from './matmul.ts';
import { sum } from './reduce.ts';
import { pad, permute, reshape, slice } from './shape.ts';

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

/** Letters for the dimensions of `...`, which no equation can have; the last one is the last dimension. */
const DOTS = [...'\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8'];

/** A term with letters in the place of `...`, which stands for `count` dimensions. */
const spelt = (term: string, count: number): string => term.replace('...', DOTS.slice(DOTS.length - count).join(''));

/** The diagonal where two dimensions have one name; PyTorch puts it where the first of them is, which `names` says. */
function withoutRepeats({ tensor, names }: Named): Named {
  const second = [...names].findIndex((name, d) => names.indexOf(name) < d);
  if (second < 0) return { tensor, names };
  const first = names.indexOf(names[second]);
  const others = [...names].flatMap((_, d) => (d === first || d === second ? [] : [d]));
  const size = tensor.shape[first];
  const shape = others.map((d) => tensor.shape[d]);
  const flat = reshape(permute(tensor, [...others, first, second]), [numel(shape), size * size]);
  // In rows of one more than there are, the diagonal is the first column.
  const rows = reshape(pad(flat, [0, size, 0, 0]), [numel(shape), size, size + 1]);
  const diagonal = reshape(slice(rows, 2, 0, 1), [...shape, size]);
  return withoutRepeats({ tensor: diagonal, names: others.map((d) => names[d]).join('') + names[first] });
}

/** Without the dimensions of `...` that have one element here and more elsewhere. */
function withoutBroadcast({ tensor, names }: Named, sizes: ReadonlyMap<string, number>): Named {
  const kept = [...names].flatMap((name, d) => (DOTS.includes(name) && tensor.shape[d] < sizes.get(name)! ? [] : [d]));
  if (kept.length === names.length) return { tensor, names };
  return {
    tensor: reshape(
      tensor,
      kept.map((d) => tensor.shape[d]),
    ),
    names: kept.map((d) => names[d]).join(''),
  };
}

/**
 * Einstein's summation: `einsum('bij,bjk->bik', a, b)` is a batched product. Each operand's dimensions have a letter; equal letters
 * are multiplied, and those that the result lacks are summed over; a letter twice in one operand is its diagonal. `...` stands for
 * further dimensions, which are broadcast. Without `->` the result has those of `...`, then the letters that occur once, in
 * alphabetical order. Operands are taken from left to right, two at a time. PyTorch's `torch.einsum`.
 */
export function einsum(equation: string, ...operands: readonly Tensor[]): Tensor {
  const [left, right, ...more] = equation.replaceAll(' ', '').split('->');
  const written = left.split(',');
  if (more.length > 0 || ![...written, right ?? ''].every((names) => /^[a-zA-Z]*(\.\.\.)?[a-zA-Z]*$/.test(names))) {
    throw mistake(equation, "letters, commas, one '->', and '...' at most once in a term", equation);
  }
  if (written.length !== operands.length)
    throw mistake(equation, `${written.length} operands`, String(operands.length));
  const dots = written.map((term, i) => (term.includes('...') ? operands[i].rank - (term.length - 3) : 0));
  const most = Math.max(...dots);
  if (Math.min(...dots) < 0 || most > DOTS.length) {
    throw mistake(equation, `letters for at most as many dimensions as there are, and ${DOTS.length} in '...'`, operands.map(String).join(', ')); // prettier-ignore
  }
  const terms = written.map((term, i) => spelt(term, dots[i]));
  const letters = [...written.join('').replaceAll('.', '')];
  const once = [...new Set(letters)].filter((name) => letters.indexOf(name) === letters.lastIndexOf(name)).sort();
  const result = spelt(right ?? `...${once.join('')}`, most);
  const known = [...terms.join('')];
  if (new Set(result).size !== result.length || ![...result].every((name) => known.includes(name))) {
    throw mistake(equation, 'a result of letters of the operands, each once', right);
  }
  const sizes = new Map<string, number>();
  operands.forEach((tensor, i) => {
    const names = terms[i];
    if (names.length !== tensor.rank)
      throw mistake(equation, `${names.length} dimensions for ${written[i]}`, tensor.toString());
    [...names].forEach((name, d) => {
      const [own, other] = [tensor.shape[d], sizes.get(name) ?? tensor.shape[d]];
      const isBroadcast = DOTS.includes(name) && Math.min(own, other) === 1;
      if (own !== other && !isBroadcast) throw mistake(equation, `${other} elements along ${name}`, tensor.toString());
      sizes.set(name, Math.max(own, other));
    });
  });
  const named = operands.map((tensor, i) => withoutBroadcast(withoutRepeats({ tensor, names: terms[i] }), sizes));
  const rest = (from: number): string =>
    named
      .slice(from)
      .map(({ names }) => names)
      .join('');
  const total = named.reduce((so_far, next, i) => product(so_far, next, result + rest(i + 1)));
  return arranged(total, result);
}
