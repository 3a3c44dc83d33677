"""shipped.json and shipped.safetensors: logits and embeddings of the DeiT-Ti that ships with the package, by timm in float64 from its f16 weights."""

import numpy as np
import timm
import torch
from safetensors.numpy import load_file

from common import HERE, array, relative_error, save, save_json
from generator import integers

WEIGHTS = HERE.parent.parent / "deit" / "assets" / "deit_tiny_patch16_224" / "model.safetensors"
CROPS = 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def crop(name: str) -> np.ndarray:
    """[224, 224, 3] uint8: squares of 16 pixels in random colours, with a quarter of noise."""
    coarse = integers(f"{name}.coarse", 14 * 14 * 3, 256).reshape(14, 14, 3).repeat(16, axis=0).repeat(16, axis=1)
    fine = integers(f"{name}.fine", 224 * 224 * 3, 256).reshape(224, 224, 3)
    return ((3 * coarse + fine) // 4).astype(np.uint8)


def main(out) -> None:
    names = [f"shipped.{i}" for i in range(CROPS)]
    pixels = torch.from_numpy(np.stack([crop(name) for name in names])).permute(0, 3, 1, 2).double() / 255
    images = (pixels - torch.tensor(MEAN).double().view(3, 1, 1)) / torch.tensor(STD).double().view(3, 1, 1)
    model = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    # f16 to f64 is exact.
    model.double().load_state_dict({name: torch.from_numpy(value).double() for name, value in load_file(WEIGHTS).items()})
    with torch.no_grad():
        logits = model(images)
        # What timm documents as the image's embedding.
        embed = lambda x: model.forward_head(model.forward_features(x), pre_logits=True)
        embeddings = embed(images)
        model.float()
        drift = relative_error(model(images.float()), logits)
        embedding_drift = relative_error(embed(images.float()), embeddings)
    about = {"crops": names, "logits": "logits", "drift": drift, "embeddings": "embeddings", "embeddingDrift": embedding_drift}
    save_json(out / "shipped.json", about)
    save(out / "shipped.safetensors", {"logits": array(logits), "embeddings": array(embeddings)})


if __name__ == "__main__":
    main(HERE)
