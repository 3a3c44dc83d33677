"""posembed.json and posembed.safetensors: position embeddings at another resolution, by both known rules, in float64.

bicubic      facebookresearch/deit and transformers: a = -0.75, no antialiasing, indices clamped at the border
antialiased  timm's resample_abs_pos_embed: a = -0.5, antialiased, taps outside dropped and the rest renormalised
"""

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

from common import HERE, array, save, save_rows
from generator import uniform

# (prefix tokens, old grid, new grid, width)
CASES = [
    (2, (2, 2), (4, 4), 3), (2, (4, 4), (2, 2), 3), (1, (3, 3), (5, 5), 4), (2, (3, 3), (3, 3), 4), (2, (5, 5), (3, 3), 4),
    (2, (1, 1), (3, 3), 2), (2, (3, 3), (1, 1), 2), (0, (4, 4), (7, 7), 2), (2, (7, 7), (14, 14), 3), (2, (3, 3), (5, 4), 3),
    (1, (4, 6), (6, 4), 3), (1, (14, 14), (24, 24), 4), (2, (14, 14), (24, 24), 4), (2, (24, 24), (14, 14), 4), (2, (8, 8), (14, 14), 4),
]


def resize(table, prefix, old, new, antialias):
    grid = table[:, prefix:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False, antialias=antialias)
    return torch.cat([table[:, :prefix], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def main(out) -> None:
    rows, tensors = [], {}
    for index, (prefix, old, new, width) in enumerate(CASES):
        values = uniform(f"posembed.{index}", (1, prefix + old[0] * old[1], width))
        table = torch.from_numpy(values).double()
        tensors[f"{index}.table"] = values
        for rule, antialias in (("bicubic", False), ("antialiased", True)):
            resized = resize(table, prefix, old, new, antialias)
            if antialias:
                library = resample_abs_pos_embed(table.float(), list(new), list(old), num_prefix_tokens=prefix)
                # timm computes in float32, weights included.
                assert torch.allclose(library.double(), resized, atol=5e-6)
            value = array(resized)
            tensors[f"{index}.{rule}"] = value if value.size <= 1000 else value.astype(np.float32)
        rows.append({"prefix": prefix, "from": list(old), "to": list(new), "table": f"{index}.table", "bicubic": f"{index}.bicubic", "antialiased": f"{index}.antialiased"})
    save_rows(out / "posembed.json", rows)
    save(out / "posembed.safetensors", tensors)


if __name__ == "__main__":
    main(HERE)
