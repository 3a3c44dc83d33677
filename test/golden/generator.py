"""The stated formula from which both sides draw weights and inputs, so that they need not be stored.

Every tensor is named, and its elements follow from the name alone: no order, no state, no library's generator.
The TypeScript twin is test/support/generator.ts; generator.json holds values on which the two must agree to the bit.

  seed(name)    FNV-1a, 32 bits, over the UTF-8 bytes of the name
                  s = 0x811c9dc5; for each byte b: s = ((s xor b) * 0x01000193) mod 2^32
  mix(h)        the finalizer of MurmurHash3, 32 bits
                  h ^= h >> 16; h *= 0x85ebca6b; h ^= h >> 13; h *= 0xc2b2ae35; h ^= h >> 16      (all mod 2^32)
  bits(name, j) mix((mix(j) + seed(name)) mod 2^32), j the index in the row-major flattening
  u(name, j)    (bits >> 8) / 2^24, in [0, 1), exact in float32 and float64
  value         float32(center + scale * (2 u - 1)), the product and the sum each rounded to float64 before the
                last rounding to float32. IEEE arithmetic gives the same bits everywhere.
  integer       floor(u * below), exact

`center` and `scale` of a tensor of a model (named as in timm's state dict), first rule that fits:

  *num_batches_tracked                             0 (int64, not drawn)
  *running_var                                     1 +- 0.3
  *running_mean                                    0 +- 0.1
  cls_token, dist_token, pos_embed                 0 +- 0.1
  *.weight of a module called norm, norm<n> or bn  1 +- 0.2
  *.bias   of a module called norm, norm<n> or bn  0 +- 0.1
  *.bias                                           0 +- 0.05
  *.weight                                         0 +- sqrt(3 / fan_in), fan_in = product of all sizes but the first

Inputs state their own center and scale where they are used (README.md lists them).

A gradient too large to store whole is kept as its norm, 16 projections and 64 elements:

  projection p  sum over j of g_j * (-1)^(bit p of bits("signs." + name, j)), p = 0..15
  element i     g at index integer("indices." + name, i, below = number of elements), i = 0..63
"""

import json
import math
import re

import numpy as np

NORM = re.compile(r"(^|\.)(norm\d*|bn)\.(weight|bias)$")


def seed(name: str) -> int:
    s = 0x811C9DC5
    for byte in name.encode("utf-8"):
        s = ((s ^ byte) * 0x01000193) & 0xFFFFFFFF
    return s


def _mix(h: np.ndarray) -> np.ndarray:
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def bits(name: str, count: int) -> np.ndarray:
    return _mix(_mix(np.arange(count, dtype=np.uint32)) + np.uint32(seed(name)))


def _unit(name: str, count: int) -> np.ndarray:
    return (bits(name, count) >> np.uint32(8)).astype(np.float64) * 2.0**-24


def uniform(name: str, shape, center: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """float32 array of values center +- scale."""
    count = math.prod(shape)
    return (center + scale * (2.0 * _unit(name, count) - 1.0)).astype(np.float32).reshape(shape)


def integers(name: str, count: int, below: int) -> np.ndarray:
    return np.floor(_unit(name, count) * below).astype(np.int64)


def rule(name: str, shape) -> tuple[float, float]:
    """(center, scale) of a tensor of a model."""
    if name.endswith("running_var"):
        return 1.0, 0.3
    if name.endswith("running_mean"):
        return 0.0, 0.1
    if name in ("cls_token", "dist_token", "pos_embed"):
        return 0.0, 0.1
    if NORM.search(name):
        return (1.0, 0.2) if name.endswith(".weight") else (0.0, 0.1)
    if name.endswith(".bias"):
        return 0.0, 0.05
    if name.endswith(".weight"):
        return 0.0, math.sqrt(3.0 / math.prod(shape[1:]))
    raise ValueError(f"no rule for a tensor named {name}")


def weight(name: str, shape) -> np.ndarray:
    """A tensor of a model, by its timm name."""
    return uniform(name, shape, *rule(name, shape))


def redraw(model) -> None:
    """Replaces every tensor of a torch model's state dict by the generator's."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.zero_()
            else:
                tensor.copy_(torch.from_numpy(weight(name, tuple(tensor.shape))))


def sketch(name: str, values: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(norm, 16 projections, 64 elements) of a large tensor, in float64."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    word = bits("signs." + name, flat.size)
    projections = np.array(
        [np.sum(np.where((word >> np.uint32(p)) & np.uint32(1), -flat, flat)) for p in range(16)]
    )
    elements = flat[integers("indices." + name, 64, flat.size)]
    return float(np.linalg.norm(flat)), projections, elements


def main(out) -> None:
    """generator.json: what the TypeScript twin must reproduce; float32 values as hexadecimal bit patterns."""
    cases = [
        ("cls_token", (1, 1, 7)),
        ("pos_embed", (1, 3, 5)),
        ("blocks.0.norm1.weight", (9,)),
        ("blocks.11.norm2.bias", (9,)),
        ("blocks.3.attn.qkv.weight", (6, 5)),
        ("blocks.3.attn.qkv.bias", (6,)),
        ("patch_embed.proj.weight", (3, 3, 4, 4)),
        ("s2.b1.conv2.conv.weight", (4, 2, 3, 3)),
        ("s2.b1.conv2.bn.weight", (5,)),
        ("s2.b1.conv2.bn.bias", (5,)),
        ("s2.b1.conv2.bn.running_mean", (5,)),
        ("s2.b1.conv2.bn.running_var", (5,)),
        ("s4.b7.se.fc1.bias", (11,)),
        ("norm.weight", (4,)),
    ]
    ramp = np.arange(1000, dtype=np.float64) / 1000 - 0.25
    norm, projections, elements = sketch("ramp", ramp)
    golden = {
        "seeds": {name: seed(name) for name in ["", "a", "images", "blocks.3.attn.qkv.weight", "größe"]},
        "bits": {"images": [int(x) for x in bits("images", 8)]},
        "tail": {"name": "images", "index": 3_000_000, "bits": int(bits("images", 3_000_001)[-1])},
        "integers": {"name": "labels", "below": 1000, "values": [int(x) for x in integers("labels", 12, 1000)]},
        "weights": [
            {"name": n, "shape": list(s), "float32": [f"{int(b):08x}" for b in weight(n, s).reshape(-1).view(np.uint32)]}
            for n, s in cases
        ],
        "sketch": {
            "comment": "of the 1000 values i / 1000 - 0.25 under the name ramp",
            "norm": norm,
            "projections": projections.tolist(),
            "elements": elements.tolist(),
        },
    }
    (out / "generator.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    from pathlib import Path

    main(Path(__file__).parent)
