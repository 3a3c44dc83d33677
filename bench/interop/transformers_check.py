"""Do transformers and this package read each other's folders, and give the same logits?

    pip install -r bench/interop/requirements.txt
    python bench/interop/transformers_check.py                  # all, some minutes
    python bench/interop/transformers_check.py predict regnet   # only these

1. Weights drawn by a formula are exported by `deit export --format huggingface` and loaded by transformers, with nothing missing
   or left over: logits against timm in float64.
2. Models of transformers are saved by transformers and read by `deit logits --weights FOLDER`: logits against themselves in
   float64. Likewise folders that timm writes for the hub.
3. Pictures of awkward sizes go through transformers' image processor and model, and through `deit predict`: probabilities.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    RegNetConfig,
    RegNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

sys.path.insert(0, str(Path(__file__).resolve().parent))
from interop import ROOT, compare, deit, drawn_images, drawn_model, redraw, uniform  # noqa: E402


class Logits(torch.nn.Module):
    """A model of transformers as a function from images to logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images).logits


def exported(name: str, expected_class: type, folder: Path) -> bool:
    timm_file = folder / f"{name}.safetensors"
    model = drawn_model(name, timm_file)
    out = folder / name
    deit("export", "--weights", timm_file, "--model", name, "--format", "huggingface", "--output", out)
    loaded, info = AutoModelForImageClassification.from_pretrained(out, output_loading_info=True)
    images = drawn_images(name, 2, 224)
    found = loaded.eval()(images).logits.numpy()
    problems = {key: sorted(value) for key, value in info.items() if value}
    print(f"{name}: {type(loaded).__name__}, {problems or 'every tensor in its place'}")
    return compare(name, "logits of transformers", found, model, images) and type(loaded) is expected_class and not problems


def imported(name: str, model: torch.nn.Module, write, side: int, folder: Path) -> bool:
    """Whether `deit logits` gives the logits of a model whose folder `write` makes."""
    out = folder / f"{name}-saved"
    write(out)
    images = drawn_images(name, 2, side)
    save_file({"images": images}, folder / "images.safetensors")
    deit("logits", "--weights", out, "--input", folder / "images.safetensors", "--output", folder / "logits.safetensors")
    found = load_file(folder / "logits.safetensors")["logits"].numpy()
    return compare(name, "logits of this package", found, model, images)


def random_transformer(kind: type, config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = kind(config).eval()
    for module in model.modules():  # statistics and tokens that a loader could forget
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
    for key, value in model.named_parameters():
        if "token" in key or "position" in key:
            value.normal_(0, 0.1)
    return model


def saved_by_transformers(name: str, kind: type, config, processor: dict, folder: Path) -> bool:
    model = random_transformer(kind, config)

    def write(out: Path) -> None:
        model.save_pretrained(out)
        (out / "preprocessor_config.json").write_text(json.dumps(processor))

    return imported(name, Logits(model), write, getattr(config, "image_size", 224), folder)


def saved_by_timm(name: str, options: dict, side: int, folder: Path) -> bool:
    model = timm.create_model(name, pretrained=False, **options)
    redraw(model)
    return imported(f"{name}-timm", model.eval(), lambda out: save_for_hf(model, out, model_args=options, safe_serialization=True), side, folder)


def pictures(folder: Path) -> list[Path]:
    files = []
    for width, height in [(300, 200), (227, 341), (224, 224), (640, 481), (97, 120)]:
        coarse = uniform(f"picture.{width}", (height // 20 + 2, width // 20 + 2, 3), 0.5, 0.5)
        image = Image.fromarray((coarse * 255).astype(np.uint8)).resize((width, height), Image.BICUBIC)
        files.append(folder / f"{width}x{height}.png")
        image.save(files[-1])
    return files


def predictions(folder: Path) -> bool:
    """The shipped model: probabilities of pictures by transformers, with Pillow and with torchvision, and here."""
    out = folder / "shipped"
    deit("export", "--format", "huggingface", "--output", out)
    files = pictures(folder)
    result = subprocess.run(["npm", "run", "--silent", "deit", "--", "predict", "--json", "--weights", str(out), *map(str, files)],
                            cwd=ROOT, check=True, capture_output=True, text=True)
    ours = [json.loads(line)["top5"] for line in result.stdout.splitlines() if line.startswith("{")]
    model = AutoModelForImageClassification.from_pretrained(out).eval()
    held = True
    for backend, bound in [("pil", 1e-5), ("torchvision", 5e-3)]:  # torchvision rounds its resampling otherwise
        processor = AutoImageProcessor.from_pretrained(out, backend=backend)
        inputs = processor([Image.open(file) for file in files], return_tensors="pt")
        probabilities = model(**inputs).logits.softmax(-1)
        apart = max(abs(probabilities[i][entry["class"]].item() - entry["probability"]) for i, top in enumerate(ours) for entry in top)
        named = all(model.config.id2label[entry["class"]] == entry["name"] for top in ours for entry in top)
        print(f"predictions, {type(processor).__name__} ({backend}): probabilities differ by {apart:.1e} at most, names {named}")
        held = held and apart < bound and named
    return held


def main() -> None:
    torch.set_grad_enabled(False)
    vit = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 64,
           "patch_size": 16, "num_labels": 7}
    crop = {"image_processor_type": "DeiTImageProcessor", "do_resize": True, "size": {"height": 72, "width": 72}, "resample": 3,
            "do_center_crop": True, "crop_size": {"height": 64, "width": 64}, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    convnext = {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "do_normalize": True, "do_resize": True,
                "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 224}
    regnet = RegNetConfig(hidden_sizes=[48, 104, 208, 440], depths=[1, 3, 6, 6], groups_width=8, num_labels=7)
    checks = {
        "export-plain": lambda folder: exported("deit_tiny_patch16_224", ViTForImageClassification, folder),
        "export-distilled": lambda folder: exported("deit_tiny_distilled_patch16_224", DeiTForImageClassificationWithTeacher, folder),
        "export-regnet": lambda folder: exported("regnety_002", RegNetForImageClassification, folder),
        "vit": lambda folder: saved_by_transformers("ViT", ViTForImageClassification, ViTConfig(**vit), crop, folder),
        "deit": lambda folder: saved_by_transformers("DeiT", DeiTForImageClassificationWithTeacher, DeiTConfig(**vit), crop, folder),
        "one-head": lambda folder: saved_by_transformers("DeiT, one head", DeiTForImageClassification, DeiTConfig(**vit), crop, folder),
        "regnet": lambda folder: saved_by_transformers("RegNet", RegNetForImageClassification, regnet, convnext, folder),
        "timm-distilled": lambda folder: saved_by_timm("deit_tiny_distilled_patch16_224", {"num_classes": 5}, 224, folder),
        "timm-small": lambda folder: saved_by_timm("deit_base_patch16_384", {"depth": 2, "img_size": 96}, 96, folder),
        "timm-regnet": lambda folder: saved_by_timm("regnety_002", {}, 224, folder),
        "predict": predictions,
    }
    with tempfile.TemporaryDirectory() as folder:
        held = [checks[name](Path(folder)) for name in sys.argv[1:] or checks]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
