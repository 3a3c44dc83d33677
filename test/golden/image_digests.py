"""Digests of Pillow's and torchvision's results on pictures given by a formula: image_digests.json.

Every case is an operation, its arguments, a picture (kind, width, height) and the MD5 of the result's RGB bytes. The
operations here are bit-exact by intent, so a digest says as much as the pixels. Run: python image_digests.py
"""
import hashlib
import json
import pathlib

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image, ImageEnhance, ImageOps
from timm.data.auto_augment import solarize_add

FILL = (124, 116, 104)
FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}


def picture(kind, width, height):
    """Integer formulas, so that any language makes the same bytes."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.int64)
    noise = ((x * 7919 + y * 104729 + c * 1299709 + x * y * 31 + (x * x + c) * (y + 3)) * 2654435761 % 2**32) >> 24
    if kind == "noise":
        value = noise
    elif kind == "smooth":
        value = (x * 3 + y * 2 + c * 40) % 256
    elif kind == "binary":
        value = (noise >> 7) * 255
    else:  # narrow: few levels, none near the ends
        value = 60 + (noise >> 3) + c * 10
    return Image.fromarray(value.astype(np.uint8))


def cases():
    sizes = [(32, 32), (1, 1), (2, 5), (47, 33), (33, 61)]
    for kind in ("noise", "smooth", "binary", "narrow"):
        for width, height in sizes:
            image = picture(kind, width, height)

            def case(op, args, result):
                digest = hashlib.md5(np.asarray(result).tobytes()).hexdigest()
                return {"op": op, "args": args, "picture": [kind, width, height], "size": list(result.size), "md5": digest}

            for name, code in FILTERS.items():
                for size in [(32, 32), (64, 48), (width, 7), (9, height), (width, height), (1, 1), (20, 77)]:
                    yield case("resize", [*size, name, None], image.resize(size, code))
                if width > 2:
                    box = [1.25, 0.7, width - 1.1, height - 0.2]
                    yield case("resize", [24, 31, name, box], image.resize((24, 31), code, box=box))
                for degrees in (0, 27, -27, 3.3, 90, 180, 270, -13.37):
                    yield case("rotate", [degrees, name, FILL], image.rotate(degrees, resample=code, fillcolor=FILL))
                shift = 0.405
                for matrix in (
                    [1, 0.27, 0, 0, 1, 0],
                    [1, -0.27, 0, 0, 1, 0],
                    [1, 0, 0, 0.13, 1, 0],
                    [1, 0, shift * width, 0, 1, 0],
                    [1, 0, 0, 0, 1, -shift * height],
                ):
                    result = image.transform(image.size, Image.AFFINE, matrix, resample=code, fillcolor=FILL)
                    yield case("affine", [matrix, name, FILL], result)
            yield case("autoContrast", [], ImageOps.autocontrast(image))
            yield case("equalize", [], ImageOps.equalize(image))
            yield case("invert", [], ImageOps.invert(image))
            for threshold in (0, 26, 128, 256):
                yield case("solarize", [threshold], ImageOps.solarize(image, threshold))
            for amount in (0, 55, 99, 110):
                yield case("solarizeAdd", [amount], solarize_add(image, amount))
            for bits in (1, 2, 4, 7, 8):
                yield case("posterize", [bits], ImageOps.posterize(image, bits))
            for factor in (0, 0.1, 0.19, 0.5, 1.0, 1.3333, 1.81, 1.9):
                yield case("adjustColor", [factor], ImageEnhance.Color(image).enhance(factor))
                yield case("adjustContrast", [factor], ImageEnhance.Contrast(image).enhance(factor))
                yield case("adjustBrightness", [factor], ImageEnhance.Brightness(image).enhance(factor))
                yield case("adjustSharpness", [factor], ImageEnhance.Sharpness(image).enhance(factor))
            for shift in (-0.5, -0.1, 0, 0.31, 0.5):
                yield case("adjustHue", [shift], F.adjust_hue(image, shift))
            if min(width, height) > 2:
                for size, crop in ((36, 32), (40, 35), (33, 32)):
                    result = F.center_crop(F.resize(image, size, F.InterpolationMode.BICUBIC), crop)
                    yield case("shorterSideAndCenterCrop", [size, crop, "bicubic"], result)


def main(out):
    rows = ",\n".join(json.dumps(case) for case in cases())
    (out / "image_digests.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main(pathlib.Path(__file__).parent)
