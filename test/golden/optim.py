"""optim.json and optim.safetensors: ten steps of AdamW and SGD by torch.optim in float64, with and without clipping."""

import numpy as np
import torch

from common import HERE, array, save, save_json
from generator import uniform

STEPS = 10
SHAPES = [(3, 4), (5,), (1,), (2, 3, 2), (257,)]
CONSTANT = [1e-2] * STEPS
FALLING = [1e-2 * (STEPS - t) / STEPS for t in range(STEPS)]
ADAMW = {"betas": [0.9, 0.999], "eps": 1e-8}

# weightDecay: one for all, or one a parameter. gradScale: gradients are drawn within +- this, one for all or one a step.
CASES = {
    "adamw": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.0},
    "adamw_decay": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.05},
    "adamw_groups": {"optimizer": "adamw", "options": ADAMW, "weightDecay": [0.05, 0.0, 0.0, 0.3, 0.05], "lr": FALLING},
    "adamw_betas": {"optimizer": "adamw", "options": {"betas": [0.8, 0.95], "eps": 1e-8}, "weightDecay": 0.05},
    "adamw_eps": {"optimizer": "adamw", "options": {"betas": [0.9, 0.999], "eps": 1e-3}, "weightDecay": 0.05},
    "adamw_tiny_gradients": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.05, "gradScale": 1e-9},
    "adamw_huge_gradients": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.05, "gradScale": 1e6},
    "adamw_pauses": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.0, "gradScale": [1, 1, 0, 0, 1, 0, 0, 0, 1, 1]},
    "adamw_clipped": {"optimizer": "adamw", "options": ADAMW, "weightDecay": 0.05, "maxNorm": 1.0},
    "sgd": {"optimizer": "sgd", "options": {"momentum": 0.0, "nesterov": False}, "weightDecay": 0.0},
    "sgd_decay": {"optimizer": "sgd", "options": {"momentum": 0.0, "nesterov": False}, "weightDecay": 0.1},
    "sgd_momentum": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False}, "weightDecay": 0.0},
    "sgd_momentum_decay": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False}, "weightDecay": 0.1, "lr": FALLING},
    "sgd_nesterov": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": True}, "weightDecay": 0.0},
    "sgd_nesterov_groups": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": True}, "weightDecay": [0.1, 0.0, 0.0, 0.01, 0.1], "lr": FALLING},
    "sgd_clipped": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False}, "weightDecay": 0.1, "maxNorm": 0.5},
    "sgd_clip_above_norm": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False}, "weightDecay": 0.1, "maxNorm": 1e3},
    "sgd_clip_zero_gradients": {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False}, "weightDecay": 0.1, "maxNorm": 1.0, "gradScale": 0.0},
}


def trajectory(key, case, dtype):
    draw = lambda name, shape, scale: torch.from_numpy(uniform(name, shape, 0.0, scale)).to(dtype)
    params = [draw(f"optim.{key}.param{i}", shape, 1.0).requires_grad_() for i, shape in enumerate(SHAPES)]
    groups = [{"params": [p], "weight_decay": wd} for p, wd in zip(params, case["weightDecay"])]
    if case["optimizer"] == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=tuple(case["options"]["betas"]), eps=case["options"]["eps"])
    else:
        optimizer = torch.optim.SGD(groups, lr=0.0, **case["options"])
    history = [[array(p).reshape(-1).copy()] for p in params]
    norms = []
    for step in range(STEPS):
        for i, p in enumerate(params):
            p.grad = draw(f"optim.{key}.grad{i}.{step}", SHAPES[i], case["gradScale"][step])
        if case["maxNorm"] is not None:
            norms.append(float(torch.nn.utils.clip_grad_norm_(params, case["maxNorm"])))
        for group in optimizer.param_groups:
            group["lr"] = case["lr"][step]
        optimizer.step()
        for rows, p in zip(history, params):
            rows.append(array(p).reshape(-1).copy())
    state = [{k: array(v) for k, v in optimizer.state[p].items() if torch.is_tensor(v) and v.shape == p.shape and k != "step"} for p in params]
    return [np.stack(rows) for rows in history], norms, state


def main(out) -> None:
    rows, tensors = [], {}
    for key, case in CASES.items():
        spread = lambda value, count: value if isinstance(value, list) else [value] * count
        case = {
            "key": key, "lr": CONSTANT, "maxNorm": None, "steps": STEPS, "shapes": [list(s) for s in SHAPES], **case,
            "weightDecay": spread(case["weightDecay"], len(SHAPES)),
            "gradScale": spread(case.get("gradScale", 1.0), STEPS),
        }
        history, norms, state = trajectory(key, case, torch.float64)
        history32, _, _ = trajectory(key, case, torch.float32)
        for i, values in enumerate(history):
            tensors[f"{key}.param{i}"] = values.astype(np.float64 if values.size <= 256 else np.float32)
            for label, value in state[i].items():
                tensors[f"{key}.{label}{i}"] = value
        if norms:
            tensors[f"{key}.norm"] = np.array(norms)
        case["noise"] = [float(f"{np.linalg.norm(a[-1] - b[-1]):.2g}") for a, b in zip(history32, history)]
        rows.append(case)
    save(out / "optim.safetensors", tensors)
    save_json(out / "optim.json", rows)


if __name__ == "__main__":
    main(HERE)
