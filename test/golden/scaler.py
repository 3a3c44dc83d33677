"""scaler.json and scaler.safetensors: torch.amp.GradScaler with AdamW over a scripted sequence of overflows, in float64."""

import numpy as np
import torch

from common import HERE, array, save, save_json
from generator import uniform

SHAPES = [(3, 4), (70,)]
LR = 1e-2
# Which step's gradient holds what: 0 finite numbers, 1 an infinity, 2 a NaN.
CASES = {
    "growth": {"initScale": 65536.0, "growthInterval": 3, "script": [0] * 8},
    "first_steps_overflow": {"initScale": 65536.0, "growthInterval": 4, "script": [1, 1, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0]},
    "overflow_resets_the_tracker": {"initScale": 1024.0, "growthInterval": 3, "script": [0, 0, 1, 0, 0, 0, 0, 2, 0]},
    "other_factors": {"initScale": 8.0, "growthInterval": 2, "growthFactor": 4.0, "backoffFactor": 0.25, "script": [0, 0, 1, 0, 0, 0]},
    "no_growth_past_f32": {"initScale": 2.0**126, "growthInterval": 1, "gradScale": 1e-25, "script": [0, 0, 0]},
    "late": {"initScale": 256.0, "growthInterval": 2000, "script": [0] * 40 + [1] + [0] * 40 + [2, 0]},
}


def main(out) -> None:
    rows, tensors = [], {}
    for key, case in CASES.items():
        case = {"key": key, "growthFactor": 2.0, "backoffFactor": 0.5, "lr": LR, "weightDecay": 0.05, "gradScale": 1e-3, "shapes": [list(s) for s in SHAPES], **case}
        params = [torch.from_numpy(uniform(f"scaler.{key}.param{i}", s, 0.0, 1.0)).double().requires_grad_() for i, s in enumerate(SHAPES)]
        optimizer = torch.optim.AdamW(params, lr=LR, weight_decay=case["weightDecay"])
        scaler = torch.amp.GradScaler(
            "cpu",
            init_scale=case["initScale"],
            growth_factor=case["growthFactor"],
            backoff_factor=case["backoffFactor"],
            growth_interval=case["growthInterval"],
        )
        scales, trackers = [], []
        for step, kind in enumerate(case["script"]):
            # The gradient that backward would have made of the scaled loss; scale() also makes the scaler's tensors.
            factor = float(scaler.scale(torch.ones(())))
            for i, p in enumerate(params):
                p.grad = torch.from_numpy(uniform(f"scaler.{key}.grad{i}.{step}", SHAPES[i], 0.0, case["gradScale"])).double() * factor
            if kind:
                params[step % 2].grad.view(-1)[step % 12] = float("inf") if kind == 1 else float("nan")
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
            trackers.append(scaler._get_growth_tracker())
        for i, p in enumerate(params):
            tensors[f"{key}.param{i}"] = array(p)
        rows.append({**case, "scale": scales, "tracker": trackers})
    save(out / "scaler.safetensors", tensors)
    save_json(out / "scaler.json", rows)


if __name__ == "__main__":
    main(HERE)
