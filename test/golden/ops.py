"""ops.json and ops.safetensors: every differentiable operator of ops_cases.py by PyTorch in float64.

Inputs and upstream gradients are float32 numbers, so both sides start from the same values.

`noise` of a result is the norm of the difference between PyTorch's own float32 result and the float64 one: how far
float32 can be expected to stray. It is absolute: a result that is zero, or the small rest of a cancellation, has one too.
"""

import numpy as np
import torch
import torch.nn.functional as F

from common import HERE, array, kl_distillation, save, save_rows, soft_target_cross_entropy
from generator import uniform
from ops_cases import CASES


def attention(qkv, heads):
    b, n, wide = qkv.shape
    d = wide // (3 * heads)
    q, k, v = qkv.reshape(b, n, 3, heads, d).permute(2, 0, 3, 1, 4).unbind(0)
    weights = torch.softmax((q @ k.mT) * d**-0.5, dim=-1)
    return (weights @ v).transpose(1, 2).reshape(b, n, heads * d)


def matmul(a, b, transposeA=False, transposeB=False):
    return (a.mT if transposeA else a) @ (b.mT if transposeB else b)


def batch_norm(x, weight, bias, mean, var, training, momentum, eps):
    # The running statistics are updated in place: on copies, which evaluate() stores as `after`.
    mean, var = mean.detach().clone(), var.detach().clone()
    out = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    return (out, {"runningMean": mean, "runningVar": var}) if training else out


def mlp(x, weight1, bias1, weight2, bias2, residual):
    y = F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)
    return y if residual is None else residual + y


def assemble_tokens(patches, cls, dist, pos):
    prefix = [token.expand(patches.shape[0], -1, -1) for token in (cls, dist) if token is not None]
    return torch.cat([*prefix, patches], 1) + pos


def distilled_cross_entropy(cls, dist, target, teacher, alpha, labelSmoothing):
    """losses.py of facebookresearch/deit, type hard; F.cross_entropy takes labels and distributions alike."""
    label = F.cross_entropy(cls, target if target.is_floating_point() else target.long(), label_smoothing=labelSmoothing)
    return label * (1 - alpha) + F.cross_entropy(dist, teacher.argmax(dim=1)) * alpha


def chain(*inputs, steps):
    previous = None
    for step in steps:
        operands = [previous if i == -1 else inputs[i] for i in step["operands"]]
        previous = REFERENCE[step["op"]](*operands, **step["attrs"])
    return previous


REFERENCE = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
    "minimum": torch.minimum, "pow": torch.pow,
    "gelu": F.gelu,
    "matmul": matmul, "linear": F.linear,
    "softmax": torch.softmax, "logSoftmax": torch.log_softmax,
    "layerNorm": lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps),
    "batchNorm": batch_norm,
    "conv2d": F.conv2d,
    "patchEmbed": lambda x, weight, bias, patch: F.conv2d(x, weight, bias, stride=patch).flatten(2).transpose(1, 2),
    "globalAvgPool": lambda x: x.mean(dim=(2, 3)),
    "sum": lambda x, dims, keepdim: x.sum(dims, keepdim),
    "mean": lambda x, dims, keepdim: x.mean(dims, keepdim),
    "amax": lambda x, dims, keepdim: x.amax(dims, keepdim),
    "permute": lambda x, dims: x.permute(dims),
    "transpose": lambda x, dim0, dim1: x.transpose(dim0, dim1),
    "reshape": lambda x, shape: x.reshape(shape),
    "expand": lambda x, shape: x.expand(shape),
    "slice": lambda x, dim, start, end: x[(slice(None),) * (dim % x.dim()) + (slice(start, end),)],
    "cat": lambda *xs, dim: torch.cat(xs, dim),
    "pad": F.pad,
    "crossEntropy": lambda z, y, labelSmoothing: F.cross_entropy(z, y.long(), label_smoothing=labelSmoothing),
    "softTargetCrossEntropy": soft_target_cross_entropy,
    "klDistillation": kl_distillation,
    "distilledCrossEntropy": distilled_cross_entropy,
    "scaledDotProductAttention": attention,
    "chain": chain,
    "flip": lambda x, dim: x.flip(dim),
    "indexSelect": lambda x, index, dim: x.index_select(dim, index),
    "linearAdd": lambda x, weight, bias, residual: residual + F.linear(x, weight, bias),
    "mlp": mlp,
    "assembleTokens": assemble_tokens,
    "scaleChannels": lambda x, gate: x * gate[:, :, None, None],
}

# Operands that have no gradient here, by position.
CONSTANT = {
    "batchNorm": {3, 4}, "crossEntropy": {1}, "softTargetCrossEntropy": {1}, "klDistillation": {1},
    "distilledCrossEntropy": {2, 3},
}


def evaluate(op, key, attrs, operands, dtype):
    """{label: array} of one precision: out, grad (the upstream gradient), d<i>, and what a batchNorm updates."""
    inputs = []
    for i, value in enumerate(operands):
        tensor = None if value is None else torch.from_numpy(value)
        if tensor is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
            tensor.requires_grad_(i not in CONSTANT.get(op, ()))
        inputs.append(tensor)
    out = REFERENCE[op](*inputs, **attrs)
    out, after = out if isinstance(out, tuple) else (out, {})
    if not out.requires_grad:
        return {"out": array(out)}
    upstream = uniform(f"ops.{key}.grad", tuple(out.shape))
    out.backward(torch.from_numpy(upstream).to(dtype))
    grads = {f"d{i}": x.grad for i, x in enumerate(inputs) if x is not None and x.requires_grad}
    return {"out": array(out), "grad": upstream} | {label: array(value) for label, value in (grads | after).items()}


def stored(value, name):
    """float64 where that is cheap; what float32 could not hold has no place among the cases."""
    value = array(value)
    assert np.isfinite(value).all() and np.abs(value).max(initial=0) < 3.4e38, name
    return value if value.size <= 128 else value.astype(np.float32)


def write(all_cases, out_dir, file, special=None) -> None:
    """The cases as a manifest and its tensors; `special`: rows of results at non-finite values, by operator."""
    rows, tensors = [], {}
    for op, cases in all_cases.items():
        assert len(cases) >= 25, f"{op}: {len(cases)} cases"
        names = [name for name, _, _ in cases]
        assert len(set(names)) == len(names), f"{op}: two cases of one name: {sorted(n for n in names if names.count(n) > 1)}"
        for index, (name, attrs, draws) in enumerate(cases):
            key = f"{op}.{index}"
            operands = [None if draw is None else np.asarray(draw(f"ops.{key}.in{i}")) for i, draw in enumerate(draws)]
            results = evaluate(op, key, attrs, operands, torch.float64)
            single = evaluate(op, key, attrs, operands, torch.float32)
            for i, value in enumerate(operands):
                if value is not None:
                    tensors[f"{key}.in{i}"] = value
            for label, value in results.items():
                tensors[f"{key}.{label}"] = value if label == "grad" else stored(value, key)
            noise = {
                label: float(f"{np.linalg.norm(single[label] - value):.2g}")
                for label, value in results.items()
                if label != "grad"
            }
            after = [label for label in results if label.startswith("running")]
            rows.append({
                "op": op, "name": name, "attrs": attrs,
                "inputs": [None if value is None else f"{key}.in{i}" for i, value in enumerate(operands)],
                "output": f"{key}.out", "gradOutput": f"{key}.grad" if "grad" in results else None,
                "gradInputs": [f"{key}.d{i}" if f"d{i}" in results else None for i in range(len(operands))],
                **({"after": {label: f"{key}.{label}" for label in after}} if after else {}),
                "noise": {
                    "output": noise["out"], "gradInputs": [noise.get(f"d{i}") for i in range(len(operands))],
                    **({"after": {label: noise[label] for label in after}} if after else {}),
                },
                **({"special": special[op]} if special and op in special and index == 0 else {}),
            })
    save_rows(out_dir / f"{file}.json", rows)
    save(out_dir / f"{file}.safetensors", tensors)
    print({op: len(cases) for op, cases in all_cases.items()}, sum(map(len, all_cases.values())), "cases")


def main(out_dir) -> None:
    write(CASES, out_dir, "ops")


if __name__ == "__main__":
    main(HERE)
