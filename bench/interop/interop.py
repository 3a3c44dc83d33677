"""What the scripts here share: models with drawn weights, the `deit` command, errors."""

import subprocess
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "golden"))
from common import relative_error  # noqa: E402, F401
from generator import redraw, uniform  # noqa: E402


def deit(*arguments) -> None:
    subprocess.run(["npm", "run", "--silent", "deit", "--", *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def drawn_model(name: str, path: Path, **options) -> torch.nn.Module:
    """A model of timm with weights drawn anew, in evaluation mode and saved to `path`."""
    model = timm.create_model(name, pretrained=False, **options)
    redraw(model)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return model.eval()


def drawn_images(name: str, batch: int, side: int) -> torch.Tensor:
    return torch.from_numpy(uniform(f"{name}.round-trip", (batch, 3, side, side), 0.0, 2.0)).float().contiguous()


def compare(name: str, what: str, found, model: torch.nn.Module, images: torch.Tensor) -> bool:
    """Whether logits are a model's: its own in float64, within a few times what its float32 strays from them."""
    with torch.no_grad():
        single = model(images)
        expected = model.double()(images.double())
        model.float()
    error = relative_error(found, expected.numpy())
    drift = relative_error(single.numpy(), expected.numpy())
    print(f"{name}: {what} {list(found.shape)}: relative error {error:.1e} (PyTorch's own float32: {drift:.1e})", flush=True)
    return error < 4 * drift + 5e-7
