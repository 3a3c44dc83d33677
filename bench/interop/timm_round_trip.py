"""Does timm load what this package saves, and give the same logits?

For each model: weights drawn anew are saved by timm, read and saved again by `deit export`, loaded strictly by timm and
compared to the bit; then `deit logits` is compared with timm in float64. Needs the packages of
test/golden/requirements.txt and `npm ci`:

    python bench/interop/timm_round_trip.py                              # all, some minutes and 2 GB of memory
    python bench/interop/timm_round_trip.py regnety_002                  # only these
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "golden"))
from common import relative_error  # noqa: E402
from generator import redraw, uniform  # noqa: E402

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


def deit(*arguments) -> None:
    subprocess.run(["npm", "run", "--silent", "deit", "--", *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def round_trip(name: str, folder: Path) -> bool:
    side, batch = MODELS[name]
    model = timm.create_model(name, pretrained=False)
    redraw(model)
    model.eval()
    original = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(original, folder / "timm.safetensors")
    deit("export", "--weights", folder / "timm.safetensors", "--model", name, "--output", folder / "ours.safetensors")
    loaded = timm.create_model(name, pretrained=False).eval()
    loaded.load_state_dict(load_file(folder / "ours.safetensors"), strict=True)
    different = [key for key, value in loaded.state_dict().items() if not torch.equal(value, original[key])]

    images = torch.from_numpy(uniform(f"{name}.round-trip", (batch, 3, side, side), 0.0, 2.0)).float().contiguous()
    save_file({"images": images}, folder / "images.safetensors")
    deit("logits", "--model", name, "--weights", folder / "ours.safetensors", "--input", folder / "images.safetensors",
         "--output", folder / "logits.safetensors")
    found = load_file(folder / "logits.safetensors")["logits"]
    with torch.no_grad():
        single = loaded(images)
        expected = loaded.double()(images.double())
    error = relative_error(found.numpy(), expected.numpy())
    drift = relative_error(single.numpy(), expected.numpy())
    print(f"{name}: {len(original)} tensors, {len(different)} different; logits {list(found.shape)}: relative error {error:.1e} "
          f"(PyTorch's own float32: {drift:.1e})", flush=True)
    return not different and error < 4 * drift + 5e-7


def main() -> None:
    names = sys.argv[1:] or list(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        held = [round_trip(name, Path(folder)) for name in names]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
