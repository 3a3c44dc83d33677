"""names.json: names and shapes of timm's state dicts, and the same tensors' names in other libraries.

`models`: every published DeiT and the twelve RegNetY, as timm builds them: the number of trained values and every
tensor of the state dict with its shape, in order.

`namings`: a tiny DeiT and a tiny RegNetY (of models.json) under the names of other libraries, each entry
[name there, shape there, timm name, first row, end row]; the rows say which part of timm's tensor it is (q, k and v
are parts of qkv), null for all of it. Names come from the libraries themselves (transformers in memory, and the classic
names that it writes to files; torchvision; pycls's from reading its anynet.py and blocks.py). That the correspondence
is right is checked here: the other library's model, filled by it, gives timm's logits.
"""

import json
import tempfile
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import load_file
from torchvision.models.regnet import BlockParams, RegNet

from common import HERE
from generator import redraw, uniform
from models import ENTRIES, build

DEITS = [f"deit_{size}{d}_patch16_224" for size in ("tiny", "small", "base") for d in ("", "_distilled")]
DEITS += ["deit_base_patch16_384", "deit_base_distilled_patch16_384"]
REGNETYS = [f"regnety_{n}" for n in ("002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320")]


def published(name):
    model = timm.create_model(name, pretrained=False)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tensors": {n: list(t.shape) for n, t in model.state_dict().items()},
    }


# ---- correspondences: timm name -> [(name there, first row, end row)] ----


def hf_deit(name, depth_prefix, classic, width, distilled):
    """transformers' DeiT (distilled) and ViT (plain) naming."""
    root = "deit" if distilled else "vit"
    fixed = {
        "cls_token": f"{root}.embeddings.cls_token", "dist_token": f"{root}.embeddings.distillation_token",
        "pos_embed": f"{root}.embeddings.position_embeddings",
    }
    if name in fixed:
        return [(fixed[name], None, None)]
    head = "cls_classifier" if distilled else "classifier"
    for old, new in {
        "patch_embed.proj.": f"{root}.embeddings.patch_embeddings.projection.", "norm.": f"{root}.layernorm.",
        "head_dist.": "distillation_classifier.", "head.": f"{head}.",
    }.items():
        if name.startswith(old):
            return [(new + name[len(old):], None, None)]
    _, index, rest = name.split(".", 2)
    block, leaf = f"{root}.{depth_prefix}.{index}", rest.rsplit(".", 1)[1]
    if rest.startswith("attn.qkv"):
        parts = ("attention.attention.query", "attention.attention.key", "attention.attention.value") if classic else (
            "attention.q_proj", "attention.k_proj", "attention.v_proj")
        return [(f"{block}.{part}.{leaf}", i * width, (i + 1) * width) for i, part in enumerate(parts)]
    table = {
        "norm1": "layernorm_before", "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense" if classic else "attention.o_proj",
        "mlp.fc1": "intermediate.dense" if classic else "mlp.fc1", "mlp.fc2": "output.dense" if classic else "mlp.fc2",
    }
    return [(f"{block}.{table[rest.rsplit('.', 1)[0]]}.{leaf}", None, None)]


def regnet_name(name, style):
    parts = name.split(".")
    leaf = parts[-1]
    unit = {"conv": "convolution", "bn": "normalization"} if style == "hf" else {"conv": "0", "bn": "1"}
    if parts[0] == "stem":
        return {"pycls": name, "torchvision": f"stem.{unit[parts[1]]}.{leaf}",
                "hf": f"regnet.embedder.embedder.{unit[parts[1]]}.{leaf}"}[style]
    if parts[0] == "head":
        return {"pycls": name, "torchvision": f"fc.{leaf}", "hf": f"classifier.1.{leaf}"}[style]
    stage, block, module, sub = int(parts[0][1:]), int(parts[1][1:]), parts[2], parts[3]
    root = {"pycls": f"s{stage}.b{block}", "torchvision": f"trunk_output.block{stage}.block{stage}-{block - 1}",
            "hf": f"regnet.encoder.stages.{stage - 1}.layers.{block - 1}"}[style]
    if style == "pycls":
        if module == "downsample":
            return f"{root}.{'proj' if sub == 'conv' else 'bn'}.{leaf}"
        if module == "se":
            return f"{root}.f.se.f_ex.{0 if sub == 'fc1' else 2}.{leaf}"
        letter = "abc"[int(module[4]) - 1]
        return f"{root}.f.{letter}{'' if sub == 'conv' else '_bn'}.{leaf}"
    if style == "torchvision":
        if module == "downsample":
            return f"{root}.proj.{unit[sub]}.{leaf}"
        if module == "se":
            return f"{root}.f.se.{sub}.{leaf}"
        return f"{root}.f.{'abc'[int(module[4]) - 1]}.{unit[sub]}.{leaf}"
    if module == "downsample":
        return f"{root}.shortcut.{unit[sub]}.{leaf}"
    if module == "se":
        return f"{root}.layer.2.attention.{0 if sub == 'fc1' else 2}.{leaf}"
    return f"{root}.layer.{[0, 1, 3][int(module[4]) - 1]}.{unit[sub]}.{leaf}"


# ---- the libraries' own models ----


def saved_shapes(model):
    """Names and shapes in the file that transformers writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return {n: list(t.shape) for n, t in load_file(next(Path(folder).glob("*.safetensors"))).items()}


def transformers_deit(entry):
    o = entry["options"]
    settings = dict(hidden_size=o["width"], num_hidden_layers=o["depth"], num_attention_heads=o["heads"],
                    intermediate_size=o["dFf"], image_size=entry["imageSize"], patch_size=o["patch"],
                    num_labels=entry["classes"], layer_norm_eps=1e-6)
    if entry["distilled"]:
        return transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**settings))
    return transformers.ViTForImageClassification(transformers.ViTConfig(**settings))


def stage_shape(model):
    stages = [getattr(model, f"s{i}") for i in range(1, 5)]
    return [s.b1.conv3.conv.out_channels for s in stages], [len(list(s.children())) for s in stages]


def transformers_regnet(entry):
    widths, depths = stage_shape(build(entry))
    return transformers.RegNetForImageClassification(transformers.RegNetConfig(
        embedding_size=32, hidden_sizes=widths, depths=depths, groups_width=entry["options"]["groupWidth"],
        layer_type="y", num_labels=entry["classes"]))


def torchvision_regnet(entry):
    widths, depths = stage_shape(build(entry))
    group = entry["options"]["groupWidth"]
    params = BlockParams(depths=depths, widths=widths, group_widths=[group] * 4, bottleneck_multipliers=[1.0] * 4,
                         strides=[2] * 4, se_ratio=0.25)
    return RegNet(params, num_classes=entry["classes"])


def correspond(entry, names):
    """Rows [name there, shape there, timm name, first row, end row]; `names`: timm name -> parts there."""
    rows = []
    for name, tensor in build(entry).state_dict().items():
        for there, first, end in names(name):
            shape = list(tensor.shape) if first is None else [end - first, *tensor.shape[1:]]
            rows.append([there, shape, name, first, end])
    return rows


def check(entry, other, rows):
    """The other library's model, filled by the rows, gives timm's logits and has no tensor besides."""
    ours = build(entry)
    redraw(ours)
    ours = ours.double().eval()
    state = ours.state_dict()
    other = other.double().eval()
    other.load_state_dict({there: state[name] if first is None else state[name][first:end] for there, _, name, first, end in rows}, strict=True)
    size = entry["imageSize"]
    images = torch.from_numpy(uniform("names.images", (2, 3, size, size), 0.0, 2.0)).double()
    with torch.no_grad():
        theirs = other(images)
        theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.logits
        assert torch.allclose(theirs, ours(images), rtol=1e-9, atol=1e-9)


def same_names(shapes, rows):
    assert shapes == {there: shape for there, shape, *_ in rows}, set(shapes) ^ {r[0] for r in rows}


def namings():
    result = {}
    for key in ("deit_distilled", "deit_plain"):
        entry = ENTRIES[key]
        width, distilled = entry["options"]["width"], entry["distilled"]
        current = correspond(entry, lambda n: hf_deit(n, "layers", False, width, distilled))
        classic = correspond(entry, lambda n: hf_deit(n, "encoder.layer", True, width, distilled))
        model = transformers_deit(entry)
        check(entry, model, current)
        same_names(saved_shapes(model), classic)
        result[key] = {"transformers5": current, "transformersClassic": classic}
    entry = ENTRIES["regnety"]
    rows = {style: correspond(entry, lambda n: [(regnet_name(n, style), None, None)]) for style in ("pycls", "torchvision", "hf")}
    check(entry, torchvision_regnet(entry), rows["torchvision"])
    check(entry, transformers_regnet(entry), rows["hf"])
    same_names(saved_shapes(transformers_regnet(entry)), rows["hf"])
    result["regnety"] = {"pycls": rows["pycls"], "torchvision": rows["torchvision"], "transformersClassic": rows["hf"]}
    return result


def main(out) -> None:
    transformers.logging.disable_progress_bar()
    lines = [f'"{name}": {dump(published(name))}' for name in DEITS + REGNETYS]
    tables = [
        f'"{key}": {{\n' + ",\n".join(f'"{style}": {dump(rows)}' for style, rows in styles.items()) + "\n}"
        for key, styles in namings().items()
    ]
    text = '{"models": {\n' + ",\n".join(lines) + '\n},\n"namings": {\n' + ",\n".join(tables) + "\n}}\n"
    (out / "names.json").write_text(text)


def dump(value):
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main(HERE)
