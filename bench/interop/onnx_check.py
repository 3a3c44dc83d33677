"""Are exported ONNX files valid, and does the native ONNX Runtime give timm's logits with them?

For each model: weights drawn by a formula are saved by timm and exported by `deit export --format onnx`; onnx.checker and shape
inference look the file over, and onnxruntime's logits, of a batch and of one image, are compared with timm in float64.

    pip install -r bench/interop/requirements.txt
    python bench/interop/onnx_check.py                 # all, some minutes
    python bench/interop/onnx_check.py regnety_002     # only these
"""

import json
import sys
import tempfile
from pathlib import Path

import onnx
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from interop import compare, deit, drawn_images, drawn_model  # noqa: E402

# Name: (side of the images, batch).
MODELS = {
    "deit_tiny_patch16_224": (224, 2),
    "deit_tiny_distilled_patch16_224": (224, 2),
    "deit_base_distilled_patch16_384": (384, 2),
    "regnety_002": (224, 2),
    "regnety_032": (224, 2),
}


def check(name: str, folder: Path) -> bool:
    side, batch = MODELS[name]
    model = drawn_model(name, folder / "timm.safetensors")
    path = folder / "model.onnx"
    deit("export", "--weights", folder / "timm.safetensors", "--model", name, "--output", path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    metadata = {prop.key: prop.value for prop in proto.metadata_props}
    print(f"{name}: opset {proto.opset_import[0].version}, {len(proto.graph.node)} nodes, {path.stat().st_size / 1e6:.1f} MB, "
          f"{len(json.loads(metadata['class_names']))} class names, {metadata['preprocessing']}")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = drawn_images(name, batch, side)
    logits = lambda x: session.run(["logits"], {"pixel_values": x.numpy()})[0]  # noqa: E731
    return all([compare(name, "logits", logits(images), model, images),
                compare(name, "logits of one image", logits(images[:1]), model, images[:1])])


def main() -> None:
    torch.set_grad_enabled(False)
    names = sys.argv[1:] or list(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        held = [check(name, Path(folder)) for name in names]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
