"""The cases of ops.py: for every differentiable operator at least 25, in the spirit of PyTorch's OpInfo samples.

A case is (name, attributes, operands); an operand is a function from the name of its random stream to an array, or
None. Ragged and size-one shapes, broadcasting in every position, negative axes, large and small magnitudes, rows of
equal values, groups, strides and paddings each appear where they mean something.
"""

import itertools

import numpy as np

from generator import bits, integers, uniform

# ---- operands ----


def T(*shape, scale=1.0, center=0.0):
    """Uniform in center +- scale."""
    return lambda stream: uniform(stream, shape, center, scale)


def positive(*shape, scale=1.0):
    """In scale * (0.1 .. 3.1)."""
    return T(*shape, scale=1.5 * scale, center=1.6 * scale)


def away(*shape, scale=1.0):
    """Either sign, magnitude in scale * (0.5 .. 2): far from zero."""

    def draw(stream):
        sign = np.where(bits("sign." + stream, int(np.prod(shape))) & 1, -1, 1).reshape(shape)
        return (sign * uniform(stream, shape, 1.25 * scale, 0.75 * scale)).astype(np.float32)

    return draw


def ties(*shape, below=3):
    """Small integers around zero: many equal elements, many zeros."""
    return lambda stream: (integers(stream, int(np.prod(shape)), below) - below // 2).reshape(shape).astype(np.float32)


def equal(*shape, value=2.5):
    return lambda stream: np.full(shape, value, np.float32)


def given(values, *shape):
    return lambda stream: np.array(values, np.float32).reshape(shape or (-1,))


def labels(count, classes):
    return lambda stream: integers(stream, count, classes).astype(np.int32)


def probabilities(rows, classes):
    def draw(stream):
        raw = uniform(stream, (rows, classes), 0.5, 0.5).astype(np.float64) ** 3 + 1e-3
        return (raw / raw.sum(1, keepdims=True)).astype(np.float32)

    return draw


CASES: dict[str, list] = {}


def case(op, name, attrs, *operands):
    CASES.setdefault(op, []).append((name, attrs, operands))


# ---- elementwise, two operands ----

PAIRS = [
    ((), ()), ((1,), (1,)), ((7,), (7,)), ((3, 5), (3, 5)), ((1, 1), (1, 1)), ((257,), (257,)),
    ((3, 5), (5,)), ((3, 5), (1, 5)), ((3, 5), (3, 1)), ((3, 5), ()), ((3, 5), (1,)),
    ((5,), (3, 5)), ((1, 5), (3, 5)), ((3, 1), (3, 5)), ((), (3, 5)), ((1,), (3, 5)),
    ((3, 1), (1, 5)), ((3, 1), (5,)), ((1, 5), (3, 1)),
    ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((2, 3, 4), (2, 1, 1)), ((2, 3, 4), (1, 3, 1)), ((2, 3, 4), (3, 4)),
    ((2, 1, 4), (1, 3, 1)), ((1, 1, 1), (2, 3, 4)), ((3, 4), (2, 3, 4)),
    ((2, 3, 4, 5), (1, 3, 1, 1)), ((2, 3, 4, 5), (2, 1, 1, 5)), ((2, 3, 4, 5), (3, 1, 5)),
    ((1, 3, 1, 5), (2, 1, 4, 1)), ((2, 3, 1, 1), (2, 3, 4, 5)), ((33, 65), (65,)), ((6, 1, 1, 1), (6, 1, 1, 1)),
]
OPERANDS = {
    "add": (T, T), "sub": (T, T), "mul": (T, T), "div": (T, away), "maximum": (T, T), "minimum": (T, T),
    "pow": (positive, T),
}
for op, (left, right) in OPERANDS.items():
    for a, b in PAIRS:
        case(op, f"{list(a)} with {list(b)}", {}, left(*a), right(*b))
    if op != "pow":
        case(op, "large magnitudes", {}, left(4, 6, scale=1e6), right(4, 6, scale=1e6))
        case(op, "small magnitudes", {}, left(4, 6, scale=1e-6), right(4, 6, scale=1e-6))
        case(op, "large with small", {}, left(4, 6, scale=1e8), right(4, 6, scale=1e-3))
    case(op, "equal values", {}, equal(3, 4, value=1.5), equal(3, 4, value=1.5))
for op in ("maximum", "minimum"):
    case(op, "ties split the gradient", {}, ties(5, 7), ties(5, 7))
    case(op, "ties under broadcasting", {}, ties(5, 7), ties(7))
for op in ("add", "sub", "mul", "maximum", "minimum"):
    case(op, "zeros and signs", {}, ties(4, 4, below=5), ties(4, 4, below=5))
case("pow", "integer exponents", {}, positive(3, 4), ties(3, 4, below=7))
case("pow", "large exponents", {}, T(3, 4, center=1.0, scale=0.5), T(3, 4, scale=20.0))

# ---- elementwise, one operand ----

SHAPES = [
    (), (1,), (7,), (1, 1), (3, 5), (5, 1), (1, 5), (2, 3, 4), (2, 1, 4), (1, 1, 1, 1), (2, 3, 4, 5), (63,), (64,),
    (65,), (257,), (31, 17), (4, 255),
]
RAMP = np.linspace(-8, 8, 65, dtype=np.float32)
for approximate in ("none", "tanh"):
    attrs = {"approximate": approximate}
    for shape in SHAPES:
        case("gelu", f"{list(shape)} ({approximate})", attrs, T(*shape))
    case("gelu", f"ramp ({approximate})", attrs, given(RAMP))
    case("gelu", f"extremes ({approximate})", attrs, given([-1e4, -20, -6, -1e-4, 0, 1e-4, 6, 20, 1e4]))
    for scale in ("1e-4", "0.01", "5", "20"):
        case("gelu", f"scale {scale} ({approximate})", attrs, T(4, 9, scale=float(scale)))
    case("gelu", f"equal values ({approximate})", attrs, equal(3, 4, value=1.25))
    case("gelu", f"thin ({approximate})", attrs, T(40, 1, 1))

# ---- matmul and linear ----

for m, k, n in [(1, 1, 1), (1, 7, 1), (5, 1, 7), (3, 4, 5), (17, 33, 9), (1, 128, 5), (129, 3, 2), (2, 3, 130), (33, 65, 31)]:
    case("matmul", f"{m}x{k} by {k}x{n}", {}, T(m, k), T(k, n))
for ta, tb in itertools.product([False, True], repeat=2):
    attrs = {"transposeA": ta, "transposeB": tb}
    turned = lambda r, c, t: (c, r) if t else (r, c)
    for m, k, n in [(5, 3, 7), (34, 18, 21), (1, 9, 1)]:
        case("matmul", f"{m}x{k} by {k}x{n}, transposed {int(ta)}{int(tb)}", attrs, T(*turned(m, k, ta)), T(*turned(k, n, tb)))
    case("matmul", f"batched, transposed {int(ta)}{int(tb)}", attrs, T(3, *turned(4, 6, ta)), T(3, *turned(6, 5, tb)))
    case("matmul", f"two batch axes, transposed {int(ta)}{int(tb)}", attrs, T(2, 3, *turned(4, 6, ta)), T(2, 3, *turned(6, 5, tb)))
    case("matmul", f"one matrix for all, transposed {int(ta)}{int(tb)}", attrs, T(3, *turned(4, 6, ta)), T(*turned(6, 5, tb)))
for a, b in [((4, 6), (3, 6, 5)), ((1, 4, 6), (3, 6, 5)), ((3, 4, 6), (1, 6, 5)), ((2, 1, 4, 6), (3, 6, 5)), ((2, 1, 4, 6), (1, 3, 6, 5)), ((1, 1, 1, 1), (2, 3, 1, 1)), ((5, 1, 1), (5, 1, 1))]:
    case("matmul", f"batch {list(a)} by {list(b)}", {}, T(*a), T(*b))
case("matmul", "long inner", {}, T(3, 1500), T(1500, 4))
case("matmul", "large magnitudes", {}, T(6, 9, scale=1e5), T(9, 4, scale=1e5))
case("matmul", "small magnitudes", {}, T(6, 9, scale=1e-6), T(9, 4, scale=1e-6))
case("matmul", "equal rows", {}, equal(6, 9), T(9, 4))
for lead, fan_in, out in [((), 4, 3), ((1,), 1, 1), ((5,), 4, 3), ((5,), 1, 7), ((5,), 7, 1), ((33,), 17, 9), ((65,), 31, 33),
                          ((2, 3), 4, 5), ((2, 7), 16, 48), ((1, 1), 8, 8), ((2, 3, 4), 5, 6), ((3,), 700, 4), ((130,), 3, 2), ((2,), 3, 130)]:
    for bias in (True, False):
        case("linear", f"{[*lead, fan_in]} to {out}{'' if bias else ', no bias'}", {}, T(*lead, fan_in), T(out, fan_in), T(out) if bias else None)
case("linear", "large magnitudes", {}, T(5, 6, scale=1e5), T(4, 6, scale=1e3), T(4, scale=1e8))
case("linear", "equal rows", {}, equal(5, 6), T(4, 6), T(4))

# ---- softmax, normalisation ----

for op in ("softmax", "logSoftmax"):
    for shape, dim in [((1,), 0), ((7,), -1), ((3, 5), 1), ((3, 5), -1), ((3, 5), 0), ((3, 5), -2), ((1, 5), 1), ((5, 1), 1), ((5, 1), 0),
                       ((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4), -3), ((2, 3, 4), -2), ((2, 3, 7, 7), -1), ((2, 3, 7, 5), 1), ((4, 257), -1), ((3, 1025), -1), ((65, 33), -1)]:
        case(op, f"{list(shape)} over {dim}", {"dim": dim}, T(*shape, scale=3.0))
    for scale in (1e-5, 30.0, 1e3, 1e5):
        case(op, f"scale {scale:g}", {"dim": -1}, T(4, 9, scale=scale))
    case(op, "large common offset", {"dim": -1}, T(4, 9, center=1000.0, scale=2.0))
    case(op, "equal rows", {"dim": -1}, equal(4, 9))
    case(op, "ties at the maximum", {"dim": -1}, ties(6, 8))
    case(op, "masked elements", {"dim": -1}, given([1, -1e9, 2, -1e9, 0, 1, -1e9, -1e9, 3, 0.5, -2, 1], 3, 4))
for shape in [(1, 1), (4, 1), (1, 5), (3, 5), (7, 8), (2, 3, 4), (2, 5, 48), (1, 1, 192), (33, 65), (2, 2, 2, 6), (5, 257), (2, 1030), (9,), (3, 63), (64, 3)]:
    d = shape[-1]
    case("layerNorm", f"{list(shape)}", {"eps": 1e-6}, T(*shape, scale=2.0), T(d, center=1.0, scale=0.5), T(d))
for eps in (1e-12, 1e-5, 0.1):
    case("layerNorm", f"eps {eps:g}", {"eps": eps}, T(4, 11), T(11), T(11))
for label, draw in {
    "scale 1000": T(4, 12, scale=1e3), "scale 0.001": T(4, 12, scale=1e-3), "offset 100": T(4, 12, center=100.0), "offset 1000": T(4, 12, center=1000.0),
    "equal rows": equal(4, 12), "zero rows": equal(4, 12, value=0.0), "one outlier": given([0, 0, 0, 100, 0, 0, 1, 0, 0, 0, 0, 0], 2, 6),
}.items():
    d = 6 if label == "one outlier" else 12
    case("layerNorm", label, {"eps": 1e-6}, draw, T(d, center=1.0, scale=0.5), T(d))
case("layerNorm", "without bias", {"eps": 1e-6}, T(4, 7), T(7), None)
case("layerNorm", "without weight and bias", {"eps": 1e-6}, T(4, 7), None, None)
for training in (True, False):
    mode = "train" if training else "eval"
    for shape in [(2, 1, 1, 1), (4, 3, 1, 1), (1, 3, 4, 5), (2, 3, 4, 5), (2, 8, 7, 7), (3, 17, 3, 5), (5, 2, 16, 16), (2, 65, 2, 2), (1, 1, 33, 31)]:
        c = shape[1]
        case("batchNorm", f"{mode} {list(shape)}", {"training": training, "momentum": 0.1, "eps": 1e-5},
             T(*shape, scale=2.0), T(c, center=1.0, scale=0.5), T(c), T(c), T(c, center=1.0, scale=0.5))
    for label, draw in {"offset 100": T(3, 4, 3, 3, center=100.0), "scale 1000": T(3, 4, 3, 3, scale=1e3), "scale 0.001": T(3, 4, 3, 3, scale=1e-3), "equal values": equal(3, 4, 3, 3)}.items():
        case("batchNorm", f"{mode} {label}", {"training": training, "momentum": 0.1, "eps": 1e-5},
             draw, T(4, center=1.0, scale=0.5), T(4), T(4), T(4, center=1.0, scale=0.5))
    case("batchNorm", f"{mode} momentum 0.3, eps 0.001", {"training": training, "momentum": 0.3, "eps": 1e-3},
         T(3, 4, 3, 3), T(4), T(4), T(4), T(4, center=1.0, scale=0.5))

# ---- convolution, patches, pooling ----

for b, cin, h, w, cout, kh, kw, stride, padding, groups, bias in [
    (1, 1, 1, 1, 1, 1, 1, 1, 0, 1, True), (2, 3, 5, 7, 4, 1, 1, 1, 0, 1, True), (2, 3, 5, 7, 4, 3, 3, 1, 0, 1, True), (2, 3, 5, 7, 4, 3, 3, 1, 1, 1, True),
    (2, 3, 5, 7, 4, 3, 3, 2, 1, 1, False), (2, 3, 6, 6, 4, 3, 3, 2, 1, 1, True), (2, 3, 6, 8, 4, 3, 3, 2, 0, 1, False), (1, 3, 9, 9, 5, 3, 3, 3, 1, 1, False),
    (2, 4, 5, 6, 4, 3, 3, 1, 1, 2, False), (2, 4, 5, 6, 4, 3, 3, 1, 1, 4, True), (2, 6, 5, 5, 9, 3, 3, 1, 1, 3, True), (2, 8, 7, 7, 16, 3, 3, 2, 1, 2, False),
    (2, 16, 6, 6, 16, 3, 3, 2, 1, 2, False), (1, 6, 4, 4, 12, 1, 1, 1, 0, 3, False), (2, 5, 4, 4, 7, 1, 1, 2, 0, 1, False), (2, 5, 5, 5, 7, 1, 1, 2, 0, 1, False),
    (1, 2, 7, 5, 3, 5, 5, 1, 2, 1, True), (1, 2, 8, 9, 3, 5, 3, 2, 2, 1, True), (1, 2, 4, 9, 3, 2, 4, 1, 1, 1, True), (1, 2, 3, 3, 3, 3, 3, 1, 0, 1, True),
    (1, 2, 2, 2, 3, 3, 3, 1, 1, 1, False), (3, 1, 8, 8, 1, 3, 3, 1, 1, 1, False), (1, 3, 32, 32, 8, 3, 3, 2, 1, 1, False), (2, 17, 3, 5, 19, 3, 3, 1, 1, 1, False),
    (1, 33, 4, 4, 35, 1, 1, 1, 0, 1, False), (1, 3, 8, 8, 6, 4, 4, 4, 0, 1, True), (2, 24, 1, 1, 6, 1, 1, 1, 0, 1, True), (1, 2, 7, 7, 2, 7, 7, 2, 3, 1, False), (1, 1, 11, 1, 2, 3, 1, 1, 0, 1, True),
]:
    case("conv2d", f"{[b, cin, h, w]} to {cout}, {kh}x{kw}, stride {stride}, padding {padding}, groups {groups}", {"stride": stride, "padding": padding, "groups": groups},
         T(b, cin, h, w), T(cout, cin // groups, kh, kw), T(cout) if bias else None)
case("conv2d", "large magnitudes", {"stride": 1, "padding": 1, "groups": 1}, T(1, 2, 5, 5, scale=1e4), T(3, 2, 3, 3, scale=1e4), T(3, scale=1e8))
case("conv2d", "equal values", {"stride": 2, "padding": 1, "groups": 1}, equal(1, 2, 5, 5), T(3, 2, 3, 3), T(3))
for b, c, h, w, p, d in [
    (1, 1, 1, 1, 1, 1), (1, 1, 2, 2, 2, 1), (1, 3, 4, 4, 2, 8), (2, 3, 4, 4, 4, 5), (1, 3, 4, 6, 2, 3), (1, 3, 6, 4, 2, 3), (2, 3, 8, 8, 4, 7), (2, 3, 8, 8, 8, 7),
    (2, 3, 8, 8, 1, 4), (3, 1, 6, 6, 3, 5), (2, 2, 6, 9, 3, 5), (1, 4, 5, 5, 5, 6), (1, 3, 15, 10, 5, 4), (2, 3, 14, 14, 7, 6), (5, 3, 4, 4, 2, 2), (1, 3, 16, 16, 16, 9),
    (1, 3, 16, 16, 8, 33), (1, 3, 32, 32, 4, 24), (2, 3, 32, 32, 8, 12), (1, 1, 2, 20, 2, 3), (1, 1, 20, 2, 2, 3), (7, 2, 2, 2, 1, 3), (1, 3, 32, 32, 16, 65), (1, 5, 6, 6, 2, 1), (2, 3, 12, 12, 6, 10),
]:
    case("patchEmbed", f"{[b, c, h, w]} in patches of {p} to {d}", {"patch": p}, T(b, c, h, w), T(d, c, p, p), T(d))
case("patchEmbed", "large magnitudes", {"patch": 2}, T(1, 3, 4, 4, scale=1e4), T(5, 3, 2, 2, scale=1e3), T(5))
case("patchEmbed", "equal values", {"patch": 4}, equal(2, 3, 8, 8), T(5, 3, 4, 4), T(5))
POOLS = [(1, 1, 1, 1), (1, 1, 1, 7), (1, 1, 7, 1), (1, 3, 2, 2), (2, 3, 4, 5), (2, 3, 1, 1), (5, 1, 3, 3), (1, 65, 2, 2), (3, 17, 3, 5), (2, 2, 16, 16), (2, 2, 17, 15), (1, 2, 33, 33), (4, 4, 7, 7), (2, 46, 7, 7),
         (1, 1, 32, 32), (7, 5, 2, 3), (2, 9, 8, 8), (3, 1, 1, 2), (1, 7, 5, 5), (6, 6, 6, 6)]
for shape in POOLS:
    case("globalAvgPool", f"{list(shape)}", {}, T(*shape))
for label, draw in {"scale 1e6": T(2, 3, 5, 5, scale=1e6), "scale 1e-6": T(2, 3, 5, 5, scale=1e-6), "offset 1000": T(2, 3, 5, 5, center=1000.0), "equal values": equal(2, 3, 5, 5), "integers": ties(2, 3, 5, 5)}.items():
    case("globalAvgPool", label, {}, draw)

# ---- reductions ----

for op in ("sum", "mean", "amax"):
    for shape, dims in [((1,), [0]), ((7,), [0]), ((3, 5), [0]), ((3, 5), [1]), ((3, 5), [-1]), ((3, 5), [-2]), ((3, 5), [0, 1]), ((1, 5), [0]), ((5, 1), [1]), ((2, 3, 4), [0]), ((2, 3, 4), [1]),
                        ((2, 3, 4), [2]), ((2, 3, 4), [0, 2]), ((2, 3, 4), [0, 1]), ((2, 3, 4), [1, 2]), ((2, 3, 4), [0, 1, 2]), ((2, 3, 4, 5), [0, 2, 3]), ((2, 3, 4, 5), [-1, -3]), ((2000,), [0]), ((3, 700), [1]), ((700, 3), [0])]:
        for keepdim in (False, True) if len(shape) < 4 and max(shape) < 100 else (False,):
            case(op, f"{list(shape)} over {dims}{', kept' if keepdim else ''}", {"dims": dims, "keepdim": keepdim}, T(*shape))
    for label, draw in {"scale 1e6": T(4, 9, scale=1e6), "offset 1000": T(4, 9, center=1000.0), "equal values": equal(4, 9), "ties": ties(6, 8)}.items():
        case(op, label, {"dims": [1], "keepdim": False}, draw)

# ---- moving elements ----

for dims in itertools.permutations(range(3)):
    case("permute", f"[2, 3, 4] by {list(dims)}", {"dims": list(dims)}, T(2, 3, 4))
for shape, dims in [((5,), [0]), ((3, 5), [1, 0]), ((3, 5), [0, 1]), ((1, 1), [1, 0]), ((1, 5), [1, 0]), ((33, 65), [1, 0]), ((2, 3, 4, 5), [0, 2, 1, 3]), ((2, 3, 4, 5), [0, 2, 3, 1]), ((2, 3, 4, 5), [3, 2, 1, 0]), ((2, 3, 4, 5), [1, 0, 3, 2]),
                    ((2, 3, 4, 5), [0, 3, 1, 2]), ((2, 3, 4, 5), [2, 3, 0, 1]), ((2, 3, 4), [-1, 0, 1]), ((2, 3, 4), [0, -1, -2]), ((2, 1, 4, 1), [3, 2, 1, 0]), ((2, 5, 3, 2, 4), [2, 0, 3, 1, 4]), ((1, 17, 9), [0, 2, 1]), ((2, 1, 3, 1, 2), [4, 3, 2, 1, 0]), ((7, 1, 1), [1, 2, 0]), ((3, 3, 3), [2, 0, 1])]:
    case("permute", f"{list(shape)} by {dims}", {"dims": dims}, T(*shape))
for shape in [(3, 5), (2, 3, 4), (2, 3, 4, 5), (1, 5), (5, 1)]:
    for a, b in [(0, 1), (-1, -2), (0, -1), (1, 1), (1, 0), (-2, -1)]:
        case("transpose", f"{list(shape)}, {a} with {b}", {"dim0": a, "dim1": b}, T(*shape))
for shape, to in [((1,), []), ((), [1]), ((6,), [2, 3]), ((6,), [3, 2]), ((6,), [6, 1]), ((6,), [1, 6]), ((6,), [1, 1, 6]), ((2, 3), [6]), ((2, 3), [-1]), ((2, 3), [3, 2]), ((2, 3), [2, 3]), ((2, 3), [-1, 2]), ((2, 3), [3, -1]), ((2, 3, 4), [6, 4]), ((2, 3, 4), [2, 12]), ((2, 3, 4), [24]), ((2, 3, 4), [4, 3, 2]),
                  ((2, 3, 4), [2, 3, 2, 2]), ((2, 3, 4), [-1, 12]), ((24,), [2, 3, 4]), ((1, 1), [1]), ((2, 1, 3), [2, 3]), ((2, 3), [2, 1, 3]), ((2, 5, 18), [2, 5, 3, 2, 3]), ((4, 4), [2, 2, 2, 2]), ((33, 4), [3, 44])]:
    case("reshape", f"{list(shape)} to {to}", {"shape": to}, T(*shape))
for shape, to in [((), [1]), ((), [3]), ((), [2, 3]), ((1,), [1]), ((1,), [5]), ((1,), [3, 5]), ((5,), [5]), ((5,), [3, 5]), ((5,), [2, 3, 5]), ((3, 1), [3, 5]), ((1, 5), [3, 5]), ((1, 1), [3, 5]), ((3, 5), [3, 5]), ((3, 5), [2, 3, 5]), ((1, 1, 4), [2, 1, 4]), ((1, 1, 4), [2, 3, 4]), ((1, 3, 1), [2, 3, 4]), ((2, 1, 1), [2, 3, 4]),
                  ((2, 1, 4), [2, 3, 4]), ((3, 1), [2, 3, 4]), ((1, 3, 1, 1), [2, 3, 4, 5]), ((2, 1, 4, 1), [2, 3, 4, 5]), ((1, 1, 24), [7, 1, 24]), ((1, 1), [65, 33]), ((3, 1), [-1, 5]), ((1, 3, 1), [2, -1, 4])]:
    case("expand", f"{list(shape)} to {to}", {"shape": to}, T(*shape))
for shape, dim, start, end in [((1,), 0, 0, 1), ((7,), 0, 0, 7), ((7,), 0, 2, 5), ((7,), 0, 6, 7), ((7,), -1, 0, 1), ((3, 5), 0, 0, 1), ((3, 5), 0, 1, 3), ((3, 5), 1, 0, 1), ((3, 5), 1, 1, 4), ((3, 5), -1, 4, 5), ((3, 5), -2, 2, 3), ((2, 3, 4), 0, 1, 2), ((2, 3, 4), 1, 1, 3), ((2, 3, 4), 2, 1, 2), ((2, 3, 4), -2, 0, 2), ((2, 3, 4), -3, 0, 1),
                               ((2, 6, 24), 1, 0, 1), ((2, 6, 24), 1, 1, 2), ((2, 6, 24), 1, 2, 6), ((2, 3, 4, 5), 2, 1, 3), ((2, 3, 4, 5), 3, 0, 4), ((1, 9, 1), 1, 3, 7), ((33, 65), 1, 31, 64), ((65, 33), 0, 1, 64), ((7,), 0, -3, 7), ((3, 5), 1, 0, -1), ((3, 5), 1, -4, -1)]:
    case("slice", f"{list(shape)}, axis {dim}, {start} to {end}", {"dim": dim, "start": start, "end": end}, T(*shape))
for dim, shapes in [(0, [(1,), (1,)]), (0, [(3,), (4,)]), (0, [(3,)]), (-1, [(3,), (4,), (1,)]), (0, [(2, 5), (3, 5)]), (1, [(2, 5), (2, 3)]), (-1, [(2, 1), (2, 1)]), (-2, [(1, 4), (2, 4)]), (1, [(2, 1, 4), (2, 1, 4), (2, 6, 4)]), (1, [(1, 1, 8), (1, 5, 8)]), (0, [(1, 3, 4), (2, 3, 4)]), (2, [(2, 3, 1), (2, 3, 5)]), (-1, [(2, 3, 4), (2, 3, 4)]),
                    (-3, [(2, 3, 4), (1, 3, 4)]), (3, [(2, 3, 4, 1), (2, 3, 4, 2)]), (1, [(2, 1, 3, 3), (2, 4, 3, 3)]), (0, [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]), (1, [(5, 3)]), (0, [(17, 3), (16, 3)]), (1, [(33, 31), (33, 34)]), (0, [(64,), (65,)]), (-1, [(3, 1, 2), (3, 1, 7)]), (2, [(1, 1, 1), (1, 1, 1)]), (1, [(4, 2), (4, 1), (4, 3), (4, 2)]), (0, [(2, 2, 2, 2), (3, 2, 2, 2)])]:
    case("cat", f"axis {dim} of {[list(s) for s in shapes]}", {"dim": dim}, *[T(*s) for s in shapes])
for shape, pad in [((1, 1), [0, 0, 0, 0]), ((1, 1), [1, 1, 1, 1]), ((3, 5), [1, 0, 0, 0]), ((3, 5), [0, 1, 0, 0]), ((3, 5), [0, 0, 1, 0]), ((3, 5), [0, 0, 0, 1]), ((3, 5), [1, 2, 3, 4]), ((3, 5), [0, 0, 0, 0]), ((2, 3, 5), [1, 1, 1, 1]), ((2, 3, 5), [2, 0, 0, 3]), ((2, 3, 4, 5), [1, 1, 1, 1]), ((2, 3, 4, 5), [4, 4, 4, 4]), ((2, 3, 4, 5), [0, 1, 2, 0]),
                   ((1, 3, 8, 8), [4, 4, 4, 4]), ((2, 1, 1, 1), [2, 1, 0, 3]), ((1, 1, 7, 1), [3, 3, 0, 0]), ((1, 1, 1, 7), [0, 0, 2, 2]), ((5, 2, 3, 3), [1, 0, 1, 0]), ((1, 2, 16, 16), [1, 1, 1, 1]), ((1, 2, 15, 17), [2, 3, 1, 0]), ((33, 31), [1, 2, 0, 1]), ((2, 2), [7, 0, 0, 9]), ((3, 2, 2), [0, 5, 5, 0]), ((1, 1, 3, 3), [1, 1, 0, 0]), ((1, 1, 3, 3), [0, 0, 1, 1])]:
    case("pad", f"{list(shape)} by {pad}", {"pad": pad}, T(*shape))

# ---- losses ----

ROWS = [(1, 2), (1, 1), (2, 3), (4, 5), (7, 10), (16, 4), (3, 33), (2, 257), (65, 3), (2, 1000)]
for rows, classes in ROWS:
    for smoothing in (0.0, 0.1):
        case("crossEntropy", f"{[rows, classes]}, smoothing {smoothing}", {"labelSmoothing": smoothing}, T(rows, classes, scale=3.0), labels(rows, classes))
    case("softTargetCrossEntropy", f"{[rows, classes]}", {}, T(rows, classes, scale=3.0), probabilities(rows, classes))
    for tau, scaling in [(1.0, "batchmean"), (2.0, "batchmean"), (3.0, "all")]:
        case("klDistillation", f"{[rows, classes]}, tau {tau}, {scaling}", {"tau": tau, "scaling": scaling}, T(rows, classes, scale=3.0), T(rows, classes, scale=3.0))
for label, scale in {"scale 1e-3": 1e-3, "scale 50": 50.0, "scale 1e4": 1e4}.items():
    for smoothing in (0.0, 0.3):
        case("crossEntropy", f"{label}, smoothing {smoothing}", {"labelSmoothing": smoothing}, T(4, 6, scale=scale), labels(4, 6))
    case("softTargetCrossEntropy", label, {}, T(4, 6, scale=scale), probabilities(4, 6))
for label, scale in {"scale 1e-3": 1e-3, "scale 50": 50.0}.items():
    case("klDistillation", label, {"tau": 1.0, "scaling": "batchmean"}, T(4, 6, scale=scale), T(4, 6, scale=scale))
case("crossEntropy", "equal rows", {"labelSmoothing": 0.1}, equal(4, 6), labels(4, 6))
case("crossEntropy", "offset 1000", {"labelSmoothing": 0.1}, T(4, 6, center=1000.0, scale=2.0), labels(4, 6))
case("softTargetCrossEntropy", "equal rows", {}, equal(4, 6), probabilities(4, 6))
case("softTargetCrossEntropy", "offset 1000", {}, T(4, 6, center=1000.0, scale=2.0), probabilities(4, 6))
case("softTargetCrossEntropy", "one-hot targets", {}, T(3, 4, scale=2.0), given([1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0], 3, 4))
case("softTargetCrossEntropy", "targets that do not sum to one", {}, T(3, 4, scale=2.0), positive(3, 4))
for rows, classes in [(3, 7), (5, 2), (8, 8), (1, 64), (9, 65), (33, 4), (12, 12), (6, 100)]:
    case("softTargetCrossEntropy", f"{[rows, classes]}, wide logits", {}, T(rows, classes, scale=10.0), probabilities(rows, classes))
case("klDistillation", "student equals teacher", {"tau": 2.0, "scaling": "batchmean"}, given([1, 2, 3, 0, -1, 1], 2, 3), given([1, 2, 3, 0, -1, 1], 2, 3))
case("klDistillation", "equal rows", {"tau": 2.0, "scaling": "all"}, equal(4, 6), T(4, 6))
for rows, classes in ROWS:
    heads = (T(rows, classes, scale=3.0), T(rows, classes, scale=3.0))
    for smoothing in (0.0, 0.1):
        case("distilledCrossEntropy", f"{[rows, classes]}, smoothing {smoothing}", {"alpha": 0.5, "labelSmoothing": smoothing}, *heads, labels(rows, classes), T(rows, classes, scale=3.0))
    case("distilledCrossEntropy", f"{[rows, classes]}, distributions", {"alpha": 0.3, "labelSmoothing": 0.0}, *heads, probabilities(rows, classes), T(rows, classes, scale=3.0))
for label, draw in {"scale 1e-3": T(4, 6, scale=1e-3), "scale 50": T(4, 6, scale=50.0), "scale 1e4": T(4, 6, scale=1e4), "offset 1000": T(4, 6, center=1000.0, scale=2.0), "equal rows": equal(4, 6)}.items():
    case("distilledCrossEntropy", label, {"alpha": 0.9, "labelSmoothing": 0.3}, draw, draw, labels(4, 6), T(4, 6))
    case("distilledCrossEntropy", f"{label}, distributions", {"alpha": 0.1, "labelSmoothing": 0.0}, draw, draw, probabilities(4, 6), T(4, 6))
for alpha in (0.0, 1.0):
    case("distilledCrossEntropy", f"alpha {alpha:g}", {"alpha": alpha, "labelSmoothing": 0.1}, T(5, 8, scale=3.0), T(5, 8, scale=3.0), labels(5, 8), T(5, 8))
case("distilledCrossEntropy", "a teacher of equal logits", {"alpha": 0.5, "labelSmoothing": 0.0}, T(3, 8), T(3, 8), labels(3, 8), equal(3, 8))

# ---- attention on the fused projection ----

for b, n, h, d in [(1, 1, 1, 1), (1, 2, 1, 1), (1, 2, 1, 4), (2, 1, 2, 3), (2, 3, 1, 4), (2, 5, 3, 8), (1, 6, 2, 4), (1, 17, 3, 8), (2, 18, 2, 5), (1, 33, 1, 16), (1, 7, 5, 6), (3, 4, 4, 4), (1, 65, 2, 8), (1, 9, 1, 64), (2, 16, 1, 32), (1, 64, 1, 7), (4, 2, 1, 2), (1, 5, 7, 3), (1, 66, 1, 64), (2, 10, 3, 16)]:
    case("scaledDotProductAttention", f"batch {b}, {n} tokens, {h} heads of {d}", {"heads": h}, T(b, n, 3 * h * d, scale=1.5))
for label, draw in {"scale 1e-3": T(2, 5, 24, scale=1e-3), "scale 10": T(2, 5, 24, scale=10.0), "scale 100": T(1, 5, 24, scale=100.0), "equal values": equal(2, 5, 24), "offset 5": T(2, 5, 24, center=5.0), "integers": ties(2, 5, 24)}.items():
    case("scaledDotProductAttention", label, {"heads": 2}, draw)

# ---- what non-contiguous inputs are elsewhere: an operator on the result of a permute, transpose, slice or expand ----

MOVES = {
    "permute": ("permute", {"dims": [1, 0]}, (5, 6)), "slice": ("slice", {"dim": 1, "start": 1, "end": 6}, (6, 9)),
    "slice rows": ("slice", {"dim": 0, "start": 2, "end": 8}, (9, 5)), "expand": ("expand", {"shape": [6, 5]}, (6, 1)), "expand rows": ("expand", {"shape": [6, 5]}, (5,)),
}
THEN = [
    ("add", {}, [T(6, 5)]), ("mul", {}, [T(5)]), ("gelu", {"approximate": "none"}, []), ("softmax", {"dim": -1}, []), ("sum", {"dims": [0], "keepdim": False}, []),
    ("matmul", {}, [T(5, 4)]), ("matmul", {"transposeA": True}, [T(6, 3)]), ("linear", {}, [T(3, 5), T(3)]), ("layerNorm", {"eps": 1e-6}, [T(5), T(5)]),
]
for label, (move, move_attrs, shape) in MOVES.items():
    for op, attrs, others in THEN:
        steps = [{"op": move, "attrs": move_attrs, "operands": [0]}, {"op": op, "attrs": attrs, "operands": [-1, *range(1, 1 + len(others))]}]
        case("chain", f"{label} then {op}{' transposed' if attrs.get('transposeA') else ''}", {"steps": steps}, T(*shape, scale=2.0), *others)

# ---- operators that join several of PyTorch's ----

for shape in [(1,), (7,), (1, 1), (3, 5), (5, 1), (2, 3, 4), (2, 1, 4), (2, 3, 4, 5), (33, 65)]:
    for dim in dict.fromkeys([0, -1, len(shape) // 2, -len(shape)]):
        case("flip", f"{list(shape)}, axis {dim}", {"dim": dim}, T(*shape))
case("flip", "images, along the batch", {"dim": 0}, T(4, 3, 6, 6))


def chosen(*numbers):
    return lambda stream: np.array(numbers, np.int32)


for shape, dim, index in [((1,), 0, [0]), ((1,), 0, [0, 0, 0]), ((7,), 0, [3]), ((7,), 0, [6, 0, 2]), ((7,), -1, [1, 1, 1]), ((7,), 0, list(range(7))), ((7,), 0, list(range(6, -1, -1))),
                          ((3, 5), 0, [0]), ((3, 5), 0, [2, 0]), ((3, 5), 1, [4, 4, 0]), ((3, 5), -1, [1]), ((3, 5), -2, [0, 1, 2, 2, 1, 0]), ((1, 5), 0, [0, 0]), ((5, 1), 1, [0, 0]),
                          ((2, 3, 4), 0, [1]), ((2, 3, 4), 1, [2, 1]), ((2, 3, 4), 2, [0, 3, 3]), ((2, 3, 4), -3, [1, 0, 1]), ((2, 3, 4), -2, [2]), ((2, 3, 4, 5), 2, [3, 0]), ((2, 3, 4, 5), 3, [4]),
                          ((2, 6, 24), 1, [0]), ((2, 6, 24), 1, [0, 1]), ((65, 33), 0, [64, 0, 64, 31]), ((33, 65), 1, [64, 63, 0]), ((4, 3, 8, 8), 0, [3, 2, 1, 0])]:
    case("indexSelect", f"{list(shape)}, axis {dim}, {index}", {"dim": dim}, T(*shape), chosen(*index))
LINEARS = [((1,), 1, 1), ((5,), 4, 3), ((5,), 1, 7), ((5,), 7, 1), ((33,), 17, 9), ((65,), 31, 33), ((2, 3), 4, 5), ((2, 7), 16, 48), ((1, 1), 8, 8), ((2, 3, 4), 5, 6), ((3,), 300, 4), ((130,), 3, 2), ((2,), 3, 130)]
for lead, fan_in, out in LINEARS:
    for bias in (True, False):
        name = f"{[*lead, fan_in]} to {out}{'' if bias else ', no bias'}"
        case("linearAdd", name, {}, T(*lead, fan_in), T(out, fan_in), T(out) if bias else None, T(*lead, out, scale=2.0))
case("linearAdd", "large residual", {}, T(5, 6), T(4, 6), T(4), T(5, 4, scale=1e4))
for lead, width, hidden in [((1,), 1, 1), ((1,), 1, 5), ((5,), 4, 1), ((5,), 4, 8), ((33,), 9, 17), ((2, 3), 4, 16), ((2, 7), 16, 48), ((1, 1), 8, 32), ((2, 3, 4), 5, 6), ((130,), 2, 3), ((2, 6), 24, 96), ((3,), 30, 75)]:
    for residual in (True, False):
        case("mlp", f"{[*lead, width]} through {hidden}{', with residual' if residual else ''}", {},
             T(*lead, width), T(hidden, width), T(hidden), T(width, hidden), T(width), T(*lead, width) if residual else None)
case("mlp", "no biases", {}, T(5, 6), T(8, 6), None, T(6, 8), None, None)
case("mlp", "another width out", {}, T(5, 6), T(8, 6), T(8), T(3, 8), T(3), None)
for b, n, d in [(1, 1, 1), (1, 1, 8), (2, 1, 3), (1, 4, 1), (2, 4, 8), (3, 9, 5), (5, 2, 7), (2, 16, 24), (1, 25, 30), (4, 7, 64), (2, 3, 65), (1, 64, 12), (33, 2, 2)]:
    for dist in (True, False):
        case("assembleTokens", f"batch {b}, {n} patches of {d}{', distilled' if dist else ''}", {},
             T(b, n, d), T(1, 1, d), T(1, 1, d) if dist else None, T(1, n + 1 + dist, d))
for shape in [*POOLS, (3, 24, 7, 7), (1, 2, 1, 1)]:
    case("scaleChannels", f"{list(shape)}", {}, T(*shape), T(*shape[:2]))
for label, draw in {"scale 1e6": T(2, 3, 5, 5, scale=1e6), "offset 1000": T(2, 3, 5, 5, center=1000.0), "equal values": equal(2, 3, 5, 5), "integers": ties(2, 3, 5, 5)}.items():
    case("scaleChannels", label, {}, draw, T(2, 3))
