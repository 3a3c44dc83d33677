"""training.json and training_<model>.safetensors: the same 50 optimizer steps in PyTorch, in float64 and in float32.

Weights, images, labels and teacher logits come from generator.py; README.md gives the formulas of a batch. The learning
rates stand in training.json, so no schedule is needed to repeat a run.
"""

import math
import re

import numpy as np
import torch

from common import HERE, KINDS, SMOOTHING, array, distillation_loss, relative_error, save, save_json
from common import smoothing_cross_entropy, soft_target_cross_entropy
from generator import integers, redraw, sketch, uniform
from models import ENTRIES, build

STEPS = 50
WARMUP = 10


def learning_rates(peak, first, last):
    """Linear from `first` to `peak` in WARMUP steps, reached at step WARMUP; then half a cosine towards `last`."""
    warm = [first + t * (peak - first) / WARMUP for t in range(WARMUP)]
    rest = STEPS - WARMUP
    return warm + [last + 0.5 * (peak - last) * (1 + math.cos(math.pi * t / rest)) for t in range(rest)]


DEIT = {"optimizer": "adamw", "options": {"betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": 0.05}, "lr": learning_rates(1e-3, 1e-6, 1e-5)}
REGNETY = {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": False, "weightDecay": 5e-5}, "lr": learning_rates(5e-3, 5e-4, 5e-5)}

TINY = {"model": "deit_distilled", "batch": 8, "seen": 5, "noise": 1.0, **DEIT}
RUNS = {
    **{f"deit_{kind}": {**TINY, "kind": kind, "mixed": False} for kind in KINDS},
    **{f"deit_{kind}_mixed": {**TINY, "kind": kind, "mixed": True} for kind in ("hard", "soft_batchmean")},
    # A ReLU whose input lies within rounding of zero flips, and batch statistics spread that over the network: with biases
    # of the norms around zero any two float32 runs part by up to a tenth within 50 steps, wherever chance has it. Around 2
    # few inputs lie near zero, and twenty runs stay within 1e-5.
    "regnety": {"model": "regnety", "batch": 16, "seen": 5, "noise": 1.0, "kind": "none", "mixed": False, "shift": 2.0, **REGNETY},
    "deit_tiny_distilled_patch16_224": {"model": "deit_tiny_distilled_patch16_224", "batch": 2, "seen": 4, "noise": 1.0, "kind": "hard", "mixed": False, **DEIT},
}
# Float32 runs a comparison may expect: the first from the same weights, the others from weights up to a unit of
# the last place away.
SINGLES = 3


def no_decay(model):
    """DeiT's rule, dist_token exempt as in timm since 0.4: vectors, biases and the embeddings are not decayed."""
    listed = {"cls_token", "dist_token", "pos_embed"}
    return [n for n, p in model.named_parameters() if p.ndim <= 1 or n.endswith(".bias") or n in listed]


def batch(run, entry, step):
    """(images, targets or labels, teacher logits) as float32 and int64 arrays."""
    key = run["stream"]
    size, classes, count = entry["imageSize"], entry["classes"], run["batch"]
    labels = integers(f"training.{key}.labels.{step}", count, run["seen"])
    images = uniform(f"training.{key}.noise.{step}", (count, 3, size, size), 0.0, run["noise"])
    for i, label in enumerate(labels):
        images[i] += uniform(f"training.{key}.pattern.{label}", (3, size, size), 0.0, 1.0)
    teacher = uniform(f"training.{key}.teacher.{step}", (count, classes), 0.0, 1.0)
    teacher[np.arange(count), labels] += np.float32(3.0)
    if not run["mixed"]:
        return images, labels, teacher
    share = 0.5 + 0.5 * float(uniform(f"training.{key}.lambda.{step}", (1,), 0.5, 0.5)[0])
    mix = lambda x: share * x.astype(np.float64) + (1 - share) * x[::-1].astype(np.float64)
    smooth = np.full((count, classes), SMOOTHING / classes)
    smooth[np.arange(count), labels] = 1 - SMOOTHING + SMOOTHING / classes
    return mix(images).astype(np.float32), mix(smooth).astype(np.float32), teacher


def perturb(model, number):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(torch.from_numpy(1 + np.float32(2.0**-23) * uniform(f"training.perturbation.{number}.{name}", tuple(p.shape))))


def train(run, dtype, number=0):
    """(loss at every step, the model after the last)."""
    entry = ENTRIES[run["model"]]
    model = build(entry)
    redraw(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bn.bias"):
                p.add_(run["shift"])
    if number:
        perturb(model, number)
    model = model.to(dtype).train()
    if entry["distilled"]:
        model.set_distilled_training(True)
    exempt = set(no_decay(model))
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in exempt], "weight_decay": run["options"]["weightDecay"]},
        {"params": [p for n, p in model.named_parameters() if n in exempt], "weight_decay": 0.0},
    ]
    o = run["options"]
    if run["optimizer"] == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=tuple(o["betas"]), eps=o["eps"])
    else:
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=o["momentum"], nesterov=o["nesterov"])
    losses = []
    for step, lr in enumerate(run["lr"]):
        images, targets, teacher = (torch.from_numpy(x) for x in batch(run, entry, step))
        for group in optimizer.param_groups:
            group["lr"] = lr
        if run["mixed"]:
            base = lambda z: soft_target_cross_entropy(z, targets.to(dtype))
        else:
            base = lambda z: smoothing_cross_entropy(z, targets, SMOOTHING)
        loss = distillation_loss(model(images.to(dtype)), base, teacher.to(dtype), run["kind"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, model


def without_key_bias(name, value):
    """Softmax ignores the bias of K: its true gradient is zero, and what Adam makes of rounding is noise."""
    if re.search(r"attn\.qkv\.bias$", name):
        value = value.copy()
        value[len(value) // 3 : 2 * len(value) // 3] = 0
    return value


def golden(key, run):
    run = {"stream": key, "shift": 0.0, **run}
    losses, model = train(run, torch.float64)
    losses = np.array(losses)
    names = [n for n in model.state_dict() if not n.endswith("num_batches_tracked")]
    final = {n: without_key_bias(n, array(model.state_dict()[n])) for n in names}
    losses32, drifts = [], []
    for number in range(SINGLES):
        single, model32 = train(run, torch.float32, number)
        losses32.append(single)
        drifts.append([relative_error(without_key_bias(n, array(model32.state_dict()[n])), final[n]) for n in names])
    gap = np.abs(np.array(losses32) - losses) / np.abs(losses)
    tensors = {
        f"{key}.loss": losses,
        f"{key}.loss32": np.array(losses32),
        f"{key}.lossDrift": gap.max(0),
        f"{key}.drift": np.max(drifts, 0),
    }
    if "timm" in ENTRIES[run["model"]]:
        sketches = [sketch(n, final[n]) for n in names]
        tensors[f"{key}.norm"] = np.array([s[0] for s in sketches])
        tensors[f"{key}.projections"] = np.stack([s[1] for s in sketches])
        tensors[f"{key}.elements"] = np.stack([s[2] for s in sketches])
        stored = "sketch"
    else:
        tensors |= {f"{key}.final.{n}": final[n].astype(np.float32) for n in names}
        stored = "full"
    print(f"{key}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, drift of loss {gap.max():.1e} ({gap[:, :25].max():.1e} in 25 steps), of weights {np.max(drifts):.1e}", flush=True)
    row = {"key": key, **run, "noDecay": no_decay(build(ENTRIES[run["model"]])), "names": names, "final": stored}
    return row, tensors


def main(out) -> None:
    rows, files = [], {}
    for key, run in RUNS.items():
        row, tensors = golden(key, run)
        row["file"] = f"training_{run['model']}.safetensors"
        rows.append(row)
        files.setdefault(row["file"], {}).update(tensors)
    for name, tensors in files.items():
        save(out / name, tensors)
    save_json(out / "training.json", {"smoothing": SMOOTHING, "kinds": KINDS, "runs": rows})


if __name__ == "__main__":
    main(HERE)
