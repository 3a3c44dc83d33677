"""Does timm load what this package saves, and give the same logits?

For each model: weights drawn anew are saved by timm, read and saved again by `deit export`, loaded strictly by timm and
compared to the bit; then `deit logits` is compared with timm in float64. Needs the packages of
test/golden/requirements.txt and `npm ci`:

    python bench/interop/timm_round_trip.py                              # all, some minutes and 2 GB of memory
    python bench/interop/timm_round_trip.py regnety_002                  # only these
"""

import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from interop import compare, deit, drawn_images, drawn_model  # noqa: E402

# Name: (side of the images, batch). The last two are the largest of each family.
MODELS = {
    "deit_tiny_patch16_224": (224, 2),
    "deit_tiny_distilled_patch16_224": (224, 2),
    "deit_small_distilled_patch16_224": (224, 2),
    "regnety_002": (224, 2),
    "regnety_032": (224, 2),
    "deit_base_distilled_patch16_384": (384, 1),
    "regnety_160": (224, 1),
}


def round_trip(name: str, folder: Path) -> bool:
    side, batch = MODELS[name]
    model = drawn_model(name, folder / "timm.safetensors")
    original = model.state_dict()
    deit("export", "--weights", folder / "timm.safetensors", "--model", name, "--output", folder / "ours.safetensors")
    loaded = timm.create_model(name, pretrained=False).eval()
    loaded.load_state_dict(load_file(folder / "ours.safetensors"), strict=True)
    different = [key for key, value in loaded.state_dict().items() if not torch.equal(value, original[key])]

    images = drawn_images(name, batch, side)
    save_file({"images": images}, folder / "images.safetensors")
    deit("logits", "--model", name, "--weights", folder / "ours.safetensors", "--input", folder / "images.safetensors",
         "--output", folder / "logits.safetensors")
    print(f"{name}: {len(original)} tensors, {len(different)} different")
    found = load_file(folder / "logits.safetensors")["logits"].numpy()
    return compare(name, "logits", found, loaded, images) and not different


def main() -> None:
    names = sys.argv[1:] or list(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        held = [round_trip(name, Path(folder)) for name in names]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
