"""operators.json and operators.safetensors: the operators that ../cases/operators/*.json declares, by PyTorch in float64.

A declaration is all that the golden values, the tests, the tolerance and the table of an operator come from:

  torch      the PyTorch expression, of the inputs' and the attributes' names
  inputs     one of "any", "positive", "away": the standard cases of an operator of one operand `x`, with `extremes` (values of
             x) and `sweep` (the range of a thousand more); or {name: operand of ops_cases.py, as Python}, which may use `shape`
  shapes     with the latter: a case each, times each of `attrs`
  attrs      dictionaries of attributes
  cases      further cases: {inputs, attrs}
  arguments  names of inputs and attributes in the order in which our operator takes them; if absent, the inputs, then the attributes
  list       true where our operator takes its inputs as one list
  named      names of inputs that our operator takes in the object that is its last argument
  variadic   true where absent operands are left out of our operator's arguments
  pick       the part of our operator's result that is meant, by name; where the result is a list, the attribute `pick` is its index
  call       our operator's name, where it is not that of the declaration
  constant   names of inputs that have no gradient
  tolerance  see ../support/tolerance.ts
"""

import itertools
import json

import numpy as np
import torch
import torch.nn.functional as F

import ops
import ops_cases
from common import HERE
from generator import integers, uniform
from ops_cases import RAMP, SHAPES, T, away, equal, given, positive, ties

DECLARATIONS = HERE.parent / "cases" / "operators"
DRAWS = {"any": T, "positive": positive, "away": away}
NON_FINITE = [float("nan"), float("inf"), float("-inf"), 0.0, -1.0]


def sweep(low, high):
    """A thousand values: in equal steps of the logarithm where the range is positive."""

    def draw(stream):
        u = uniform(stream, (1030,), 0.5, 0.5).astype(np.float64)
        return (low * (high / low) ** u if low > 0 else low + (high - low) * u).astype(np.float32)

    return draw


def indices(*shape, below):
    return lambda stream: integers(stream, int(np.prod(shape)), below).astype(np.int32).reshape(shape)


def distinct(*shape, dim, below):
    """Indices of which no two along `dim` are equal."""

    def draw(stream):
        order = np.argsort(uniform(stream, (*shape[:dim], below, *shape[dim + 1 :]), 0.0, 1.0), axis=dim)
        return np.take(order, range(shape[dim]), axis=dim).astype(np.int32)

    return draw


def unary_cases(declared):
    kind = declared["inputs"]
    draw = DRAWS[kind]
    ramp = RAMP if kind == "any" else np.abs(RAMP) + 0.25 if kind == "positive" else RAMP + 0.125
    for attrs in declared.get("attrs", [{}]):
        note = f" ({', '.join(f'{name} {value}' for name, value in attrs.items())})" if attrs else ""
        for shape in SHAPES:
            yield f"{list(shape)}{note}", attrs, [draw(*shape)]
        yield "ramp" + note, attrs, [given(ramp)]
        yield "extremes" + note, attrs, [given(declared["extremes"])]
        for scale in ("1e-4", "0.01", "5", "20"):
            yield f"scale {scale}{note}", attrs, [draw(4, 9, scale=float(scale))]
        yield "equal values" + note, attrs, [equal(3, 4, value=1.25)]
        yield "thin" + note, attrs, [draw(40, 1, 1)]
        if kind == "any":
            yield "zeros and small integers" + note, attrs, [ties(6, 6)]
        yield "sweep" + note, attrs, [sweep(*declared["sweep"])]


def cases_of(declared):
    if isinstance(declared["inputs"], str):
        yield from unary_cases(declared)
        return
    for shape, attrs in itertools.product(declared.get("shapes", []), declared.get("attrs", [{}])):
        yield f"{shape}{note(attrs)}", attrs, [drawn(text, shape) for text in declared["inputs"].values()]
    for each in declared.get("cases", []):
        attrs = each.get("attrs", {})
        yield f"{', '.join(map(str, each['inputs']))}{note(attrs)}", attrs, [drawn(text) for text in each["inputs"]]


def note(attrs):
    return "".join(f", {name} {json.dumps(value)}" for name, value in attrs.items())


def drawn(text, shape=()):
    """An operand from its declaration; null is an absent one."""
    names = {name: value for name, value in vars(ops_cases).items() if callable(value)}
    return None if text is None else eval(text, {**names, "indices": indices, "distinct": distinct, "shape": shape})


def reference(declared, names):
    def call(*inputs, **attrs):
        return eval(declared["torch"], {"torch": torch, "F": F, **dict(zip(names, inputs)), **attrs})

    return call


def word(value):
    return value if np.isfinite(value) else "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def main(out_dir) -> None:
    cases, special = {}, {}
    for path in sorted(DECLARATIONS.glob("*.json")):
        for op, declared in json.loads(path.read_text()).items():
            one = isinstance(declared["inputs"], str)
            names = ["x"] if one else list(declared["inputs"])
            ops.REFERENCE[op] = call = reference(declared, names)
            ops.CONSTANT[op] = {names.index(name) for name in declared.get("constant", [])}
            cases[op] = list(cases_of(declared))
            if one:
                y = call(torch.tensor(NON_FINITE, dtype=torch.float64), **declared.get("attrs", [{}])[0])
                special[op] = [word(value) for value in y.tolist()]
    ops.write(cases, out_dir, "operators", special)


if __name__ == "__main__":
    main(HERE)
