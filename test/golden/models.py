"""models.json and models_<key>.safetensors: logits, losses and the gradient of every parameter, by timm in float64.

Weights (every tensor redrawn) and inputs come from generator.py. README.md says what each tensor holds.
"""

import numpy as np
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.regnet import RegNet, RegNetCfg
from timm.models.vision_transformer import VisionTransformer

from common import HERE, KINDS, SMOOTHING, array, distillation_loss, relative_error, save, save_json
from common import smoothing_cross_entropy
from generator import integers, redraw, sketch, uniform


def deit(distilled, image_size, patch, width, depth, heads, classes, mlp_ratio=4.0):
    model = VisionTransformerDistilled if distilled else VisionTransformer
    return model(
        img_size=image_size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=classes,
        mlp_ratio=mlp_ratio,
    )


def regnety(w0, wa, wm, depth, group_width, classes):
    cfg = RegNetCfg(w0=w0, wa=wa, wm=wm, depth=depth, group_size=group_width, se_ratio=0.25)
    return RegNet(cfg, num_classes=classes)


def _deit_entry(distilled, batch, image_size, patch, width, depth, heads, d_ff, classes, train, store):
    return {
        "family": "deit", "distilled": distilled, "batch": batch, "imageSize": image_size, "classes": classes,
        "options": {"patch": patch, "width": width, "depth": depth, "heads": heads, "dFf": d_ff},
        "modes": {"train": train, "eval": ["none"]}, "gradients": store,
    }


def _regnety_entry(batch, image_size, w0, wa, wm, depth, group_width, classes, store, train=("none",)):
    return {
        "family": "regnety", "distilled": False, "batch": batch, "imageSize": image_size, "classes": classes,
        "options": {"w0": w0, "wa": wa, "wm": wm, "depth": depth, "groupWidth": group_width},
        "modes": {"train": list(train), "eval": ["none"]}, "gradients": store,
    }


ALL = list(KINDS)
ENTRIES = {
    "deit_distilled": _deit_entry(True, 4, 32, 8, 24, 2, 3, 96, 5, ALL, "full"),
    "deit_plain": _deit_entry(False, 4, 32, 8, 24, 2, 3, 96, 5, ["none", "hard"], "full"),
    "deit_ragged": _deit_entry(True, 3, 20, 4, 30, 3, 5, 75, 7, ["hard"], "full"),
    "regnety": _regnety_entry(4, 64, 8, 8.0, 1.8, 6, 8, 5, "full"),
    "regnety_ragged": _regnety_entry(3, 40, 24, 24.0, 1.8, 6, 16, 7, "sketch"),
    "deit_tiny_distilled_patch16_224": {
        **_deit_entry(True, 2, 224, 16, 192, 12, 3, 768, 1000, ["hard", "soft_batchmean"], "sketch"),
        "timm": "deit_tiny_distilled_patch16_224",
    },
    "regnety_002": {
        **_regnety_entry(2, 96, 24, 36.44, 2.49, 13, 8, 1000, "sketch"),
        # Added to the shift of every norm in training: few of so many inputs of ReLUs are near zero then.
        "shift": 3.0,
        "timm": "regnety_002",
    },
}


def build(entry):
    o = entry["options"]
    if "timm" in entry:
        return timm.create_model(entry["timm"], num_classes=entry["classes"])
    if entry["family"] == "deit":
        return deit(entry["distilled"], entry["imageSize"], o["patch"], o["width"], o["depth"], o["heads"],
                    entry["classes"], o["dFf"] / o["width"])
    return regnety(o["w0"], o["wa"], o["wm"], o["depth"], o["groupWidth"], entry["classes"])


def inputs(key, entry, stream, dtype):
    size, batch = entry["imageSize"], entry["batch"]
    images = torch.from_numpy(uniform(stream, (batch, 3, size, size), 0.0, 2.0)).to(dtype)
    labels = torch.from_numpy(integers(f"{key}.labels", batch, entry["classes"]))
    teacher = torch.from_numpy(uniform(f"{key}.teacher", (batch, entry["classes"]), 0.0, 3.0)).to(dtype)
    return images, labels, teacher


def fresh(entry, dtype, mode):
    model = build(entry)
    redraw(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if mode == "train" and name.endswith("bn.bias"):
                parameter += entry.get("shift", 0.0)
    model = model.to(dtype)
    model.train(mode == "train")
    if entry["distilled"]:
        model.set_distilled_training(True)
    return model


def run(key, entry, stream, dtype):
    """{name: tensor} of one precision; gradients under grad.<mode>.<kind>.<parameter>."""
    images, labels, teacher = inputs(key, entry, stream, dtype)
    out = {}
    for mode, kinds in entry["modes"].items():
        for kind in kinds:
            model = fresh(entry, dtype, mode)
            outputs = model(images)
            heads = outputs if isinstance(outputs, tuple) else (outputs,)
            names = ["logits_cls", "logits_dist"] if len(heads) == 2 else ["logits"]
            for name, head in zip(names, heads):
                out[f"{mode}.{name}"] = array(head)
            loss = distillation_loss(
                outputs, lambda z: smoothing_cross_entropy(z, labels, SMOOTHING), teacher, kind
            )
            out[f"loss.{mode}.{kind}"] = array(loss)
            loss.backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    out[f"grad.{mode}.{kind}.{name}"] = array(parameter.grad)
            if mode == "train":
                for name, buffer in model.named_buffers():
                    if name.endswith(("running_mean", "running_var")):
                        out[f"after.{name}"] = array(buffer)
    return out


def relu_inputs(key, entry, mode, stream, dtype):
    """The input of every ReLU of one forward pass."""
    found = []
    model = fresh(entry, dtype, mode)
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_pre_hook(lambda _module, args: found.append(args[0].detach().double().clone()))
    with torch.no_grad():
        model(inputs(key, entry, stream, dtype)[0])
    return found


def kink_margin(key, entry, stream):
    """Smallest |input of a ReLU| in units of float32's largest error there: below 1 a mask may flip, and gradients jump."""
    margins = []
    for mode in entry["modes"]:
        exact, single = (relu_inputs(key, entry, mode, stream, dtype) for dtype in (torch.float64, torch.float32))
        margins += [(x.abs().min() / (x - y).abs().max()).item() for x, y in zip(exact, single)]
    return min(margins)


def image_stream(key, entry):
    """Name under which the images are drawn; of a RegNetY the first that stays clear of all ReLU kinks."""
    if entry["family"] == "deit":
        return f"{key}.images"
    for attempt in range(300):
        stream = f"{key}.images.{attempt}"
        if kink_margin(key, entry, stream) > 3:
            return stream
    raise RuntimeError(f"{key}: no images clear of ReLU kinks")


def golden(key, entry):
    stream = image_stream(key, entry)
    reference, single = run(key, entry, stream, torch.float64), run(key, entry, stream, torch.float32)
    parameters = [name for name, _ in build(entry).named_parameters()]
    tensors, groups = {}, {}
    for name, value in reference.items():
        head, _, rest = name.partition(".")
        if head != "grad":
            small = entry["gradients"] == "full" or head != "after"
            tensors[name] = value.astype(np.float64 if small else np.float32)
            tensors[f"drift.{name}"] = np.array(relative_error(single[name], value))
            continue
        mode, kind, parameter = rest.split(".", 2)
        groups.setdefault(f"{mode}.{kind}", []).append(parameter)
        if entry["gradients"] == "full":
            tensors[name] = value.astype(np.float32)
    for group, names in groups.items():
        grads = {name: reference[f"grad.{group}.{name}"] for name in names}
        tensors[f"drift.grad.{group}"] = np.array(
            [relative_error(single[f"grad.{group}.{name}"], grad) for name, grad in grads.items()]
        )
        if entry["gradients"] == "sketch":
            sketches = [sketch(name, grad) for name, grad in grads.items()]
            tensors[f"norm.{group}"] = np.array([s[0] for s in sketches])
            tensors[f"projections.{group}"] = np.stack([s[1] for s in sketches])
            tensors[f"elements.{group}"] = np.stack([s[2] for s in sketches])
    row = {
        "key": key, "file": f"models_{key}.safetensors", **entry, "images": stream, "labels": f"{key}.labels",
        "teacher": f"{key}.teacher", "parameters": parameters, "gradientNames": groups,
    }
    worst = {group: float(tensors[f"drift.grad.{group}"].max()) for group in groups}
    print(key, stream, "float32 drift of gradients:", worst, flush=True)
    return row, tensors


def main(out, only=None) -> None:
    rows = []
    for key, entry in ENTRIES.items():
        row, tensors = golden(key, entry)
        rows.append(row)
        save(out / row["file"], tensors)
    save_json(out / "models.json", {"smoothing": SMOOTHING, "kinds": KINDS, "models": rows})


if __name__ == "__main__":
    main(HERE)
