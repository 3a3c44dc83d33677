"""The recipe of a run folder of `deit finetune`, in PyTorch, torchvision and timm, to compare accuracies.

  python3 -m venv venv && venv/bin/pip install -r ../../test/golden/requirements.txt
  venv/bin/python torch_finetune.py RUN_FOLDER [--seeds 3] [--threads 2]

Reads config.json there: data, weights (`shipped`: the file in deit/assets), optimizer, schedule, augmentation. Knows what the
recipe `finetune` uses: cross-entropy with label smoothing, crops, flips, colour jitter, AdamW, frozen blocks, clipping.
Prints one JSON line an epoch.
"""

import argparse
import json
import math
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torchvision import datasets, transforms
from torchvision.transforms import InterpolationMode

SHIPPED = Path(__file__).parents[2] / "deit" / "assets" / "deit_tiny_patch16_224" / "model.safetensors"
NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def is_trained(name: str, freeze_blocks: int) -> bool:
    if freeze_blocks == 0:
        return True
    if name.startswith("blocks."):
        return int(name.split(".")[1]) >= freeze_blocks
    return not name.startswith(("patch_embed", "cls_token", "pos_embed"))


def learning_rate(time_in_epochs: float, recipe) -> float:
    """Warmup, then half a cosine that runs from time 0 (timm's CosineLRScheduler)."""
    schedule, base = recipe["schedule"], recipe["optim"]["lr"]
    warmup, low = schedule["warmupEpochs"], schedule["minLr"]
    if time_in_epochs < warmup:
        return schedule["warmupLr"] + time_in_epochs * (base - schedule["warmupLr"]) / warmup
    return low + 0.5 * (base - low) * (1 + math.cos(math.pi * time_in_epochs / schedule["epochs"]))


def expect(recipe) -> None:
    """What this script does not have must be off."""
    augment, optim = recipe["augment"], recipe["optim"]
    assert augment["policy"] is None and augment["erasing"] == 0 and augment["mixup"] == 0 and augment["cutmix"] == 0
    assert augment["repeats"] == 1 and recipe["schedule"]["per"] == "step" and recipe["schedule"]["steps"] is None
    assert optim["name"] == "adamw" and not optim["scaleLr"] and not optim["freeze"] and not optim["headOnly"]
    assert recipe["model"]["dropPath"] == 0 and recipe["distillation"]["type"] == "none" and optim["ema"] is None
    assert recipe["model"]["name"] == "deit_tiny_patch16_224", recipe["model"]["name"]


def train(recipe, seed: int) -> None:
    torch.manual_seed(seed)
    data, augment, optim = recipe["data"], recipe["augment"], recipe["optim"]
    jitter = augment["colorJitter"]
    training = transforms.Compose([
        transforms.RandomResizedCrop(224, scale=(augment["scaleMin"], 1), interpolation=InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(augment["flip"]),
        transforms.ColorJitter(jitter, jitter, jitter),
        transforms.ToTensor(),
        NORMALIZE,
    ])
    evaluation = transforms.Compose([
        transforms.Resize(256, interpolation=InterpolationMode.BICUBIC), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE,
    ])
    train_set = datasets.ImageFolder(str(Path(data["path"]) / "train"), training)
    val_set = datasets.ImageFolder(str(Path(data["path"]) / "val"), evaluation)
    batches = torch.utils.data.DataLoader(train_set, data["batchSize"], shuffle=True, drop_last=True)
    held_out = torch.utils.data.DataLoader(val_set, data["batchSize"])

    model = timm.create_model("deit_tiny_patch16_224", num_classes=len(train_set.classes))
    weights = SHIPPED if recipe["model"]["weights"] == "shipped" else Path(recipe["model"]["weights"])
    state = {name: value.float() for name, value in load_file(weights).items() if not name.startswith("head.")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) == {"head.weight", "head.bias"} and not unexpected
    torch.nn.init.trunc_normal_(model.head.weight, std=0.02)
    torch.nn.init.zeros_(model.head.bias)
    groups = [{"params": [], "weight_decay": optim["weightDecay"]}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, optim["freezeBlocks"]))
        exempt = parameter.ndim == 1 or name.endswith(".bias") or name in ("pos_embed", "cls_token")
        if parameter.requires_grad:
            groups[exempt]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups, lr=optim["lr"], betas=(optim["beta1"], optim["beta2"]), eps=optim["eps"])
    trained = [parameter for group in groups for parameter in group["params"]]

    start = time.perf_counter()
    for epoch in range(int(recipe["schedule"]["epochs"])):
        model.train()
        losses = []
        for number, (images, labels) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch + number / len(batches), recipe)
            loss = F.cross_entropy(model(images), labels, label_smoothing=augment["smoothing"])
            optimizer.zero_grad()
            loss.backward()
            if optim["clip"] is not None:
                torch.nn.utils.clip_grad_norm_(trained, optim["clip"])
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        right, total = 0, 0.0
        with torch.no_grad():
            for images, labels in held_out:
                logits = model(images)
                right += (logits.argmax(1) == labels).sum().item()
                total += F.cross_entropy(logits, labels, reduction="sum").item()
        report = {"seed": seed, "epoch": epoch + 1, "trainLoss": sum(losses) / len(losses), "accuracy": right / len(val_set)}
        print(json.dumps({**report, "loss": total / len(val_set), "seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = json.loads((arguments.run_folder / "config.json").read_text())["recipe"]
    expect(config)
    for seed in range(arguments.seeds):
        train(config, seed)
