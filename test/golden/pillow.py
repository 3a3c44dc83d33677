"""pillow.json and pillow.safetensors: what Pillow, torchvision and timm make of two small images, to the byte.

Also mixing.json: boxes and targets of timm's cutmix, mixup and random erasing for stated draws.
"""

from unittest import mock

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment, mixup, random_erasing
from torchvision import transforms

from common import HERE, array, save, save_json, save_rows
from generator import bits

WIDTH, HEIGHT = 37, 29
FILL = (124, 116, 104)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MODES = {"bicubic": transforms.InterpolationMode.BICUBIC, "bilinear": transforms.InterpolationMode.BILINEAR}


def pictures():
    """`noise`: every byte random. `smooth`: gradients, a disc and a bar, within 20..230 so that contrast can stretch."""
    noise = (bits("pillow.noise", HEIGHT * WIDTH * 3) >> np.uint32(24)).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.stack([20 + x * 5, 40 + y * 6, 200 - (x + y) * 2], axis=-1)
    smooth[(x - 12) ** 2 + (y - 14) ** 2 < 50] = (230, 60, 90)
    smooth[3:8, 20:34] = (25, 45, 220)
    return {"noise": noise, "smooth": smooth.astype(np.uint8)}


class Cases:
    def __init__(self, images):
        self.images, self.rows, self.tensors = images, [], {f"image.{name}": value for name, value in images.items()}

    def add(self, image, op, attrs, out):
        key = f"{len(self.rows)}.out"
        self.tensors[key] = np.asarray(out)
        self.rows.append({"op": op, "image": f"image.{image}", "attrs": attrs, "output": key})


def resizes(cases, name, image):
    sizes = [(16, 16), (13, 17), (1, 1), (37, 29), (74, 58), (50, 20), (5, 40), (40, 5), (36, 28), (38, 30), (64, 64), (37, 10), (9, 29), (3, 2)]
    for filter_name, code in FILTERS.items():
        for width, height in sizes:
            cases.add(name, "resize", {"filter": filter_name, "width": width, "height": height}, image.resize((width, height), code))
        for left, top, width, height, size in [(3, 5, 20, 11, 16), (0, 0, 37, 29, 24), (30, 20, 7, 9, 32), (10, 10, 1, 1, 8)]:
            out = image.crop((left, top, left + width, top + height)).resize((size, size), code)
            attrs = {"filter": filter_name, "left": left, "top": top, "width": width, "height": height, "size": size}
            cases.add(name, "cropResize", attrs, out)
    for size in (29, 28, 16, 15, 1):
        cases.add(name, "centerCrop", {"size": size}, transforms.CenterCrop(size)(image))
    for filter_name, mode in MODES.items():
        for shorter, size in [(29, 29), (18, 16), (36, 32), (35, 32), (20, 15), (64, 56)]:
            out = transforms.Compose([transforms.Resize(shorter, mode), transforms.CenterCrop(size)])(image)
            cases.add(name, "resizeCenterCrop", {"filter": filter_name, "shorter": shorter, "size": size}, out)


def augmentations(cases, name, image):
    """The fifteen operations of `rand-...-inc1`, at fixed levels, with and without the random change of sign."""
    hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    for op in auto_augment._RAND_INCREASING_TRANSFORMS:
        to_args = auto_augment.LEVEL_TO_ARG[op]
        seen = set()
        for level in (0.0, 1.5, 5.0, 9.0, 10.0):
            for negate in (False, True):
                with mock.patch.object(auto_augment, "_randomly_negate", lambda v: -v if negate else v):
                    args = tuple(to_args(level, hparams)) if to_args else ()
                    # This Pillow refuses to keep 0 bits; older ones made the image black.
                    if args in seen or (op == "PosterizeIncreasing" and args == (0,)):
                        continue
                    seen.add(args)
                    transform = auto_augment.AugmentOp(op, prob=1.0, magnitude=level, hparams=hparams)
                    out = transform(image)
                cases.add(name, op, {"level": level, "negate": negate, "argument": args[0] if args else None}, out)


def special(cases):
    """Images at the edges of equalize and autocontrast: one colour, two colours, few pixels."""
    for name, pixels in {
        "flat": np.full((6, 5, 3), 77, np.uint8),
        "two": np.where(np.indices((8, 9))[1:].transpose(1, 2, 0) % 2 == 0, 60, 61).repeat(3, -1).astype(np.uint8),
        "small": (bits("pillow.small", 4 * 3 * 3) >> np.uint32(24)).astype(np.uint8).reshape(4, 3, 3),
        "wide": np.arange(20 * 20 * 3, dtype=np.int64).reshape(20, 20, 3).clip(0, 255).astype(np.uint8),
    }.items():
        cases.tensors[f"image.{name}"] = pixels
        image = Image.fromarray(pixels)
        for op in ("AutoContrast", "Equalize", "Invert"):
            cases.add(name, op, {"level": 9.0, "negate": False, "argument": None}, auto_augment.NAME_TO_OP[op](image))
        for op in ("ContrastIncreasing", "ColorIncreasing", "SharpnessIncreasing"):
            out = auto_augment.NAME_TO_OP[op](image, 1.81)
            cases.add(name, op, {"level": 9.0, "negate": False, "argument": 1.81}, out)


def cutmix_boxes():
    """Boxes [top, bottom, left, right) for a centre, by facebookresearch/deit's timm 0.3.2 and by the installed timm.

    An odd side loses one pixel in the older rule: it takes side // 2 to either side.
    """
    rows = []
    for size, lam, centre in [((8, 8), 0.5, (4, 4)), ((32, 32), 0.3, (10, 20)), ((32, 32), 0.7, (0, 31)), ((32, 32), 0.999, (5, 5)), ((32, 32), 0.001, (16, 16)), ((7, 9), 0.6, (3, 8)), ((224, 224), 0.42, (200, 15)), ((224, 224), 0.9, (112, 112))]:
        draws = iter(centre)
        with mock.patch.object(mixup.np.random, "randint", lambda low, high, size=None: next(draws)):
            box, corrected = mixup.cutmix_bbox_and_lam((2, 3, *size), lam)
        cut = [int(s * np.sqrt(1 - lam)) for s in size]
        old = []
        for s, c, side in zip(size, centre, cut):
            old += [int(np.clip(c - side // 2, 0, s)), int(np.clip(c + side // 2, 0, s))]
        area = (old[1] - old[0]) * (old[3] - old[2])
        rows.append({"height": size[0], "width": size[1], "lambda": lam, "centerY": centre[0], "centerX": centre[1], "box": old,
                     "correctedLambda": 1 - area / (size[0] * size[1]), "boxInstalled": [int(v) for v in box], "correctedLambdaInstalled": float(corrected)})
    return rows


def targets():
    rows = []
    for classes, lam, smoothing, labels in [(4, 0.3, 0.1, [0, 2]), (10, 0.75, 0.1, [3, 3, 9, 0]), (5, 1.0, 0.1, [1, 4]), (5, 0.2, 0.0, [0, 1, 2, 3, 4, 0])]:
        value = mixup.mixup_target(torch.tensor(labels), classes, lam, smoothing)
        rows.append({"classes": classes, "lambda": lam, "smoothing": smoothing, "labels": labels, "targets": array(value).tolist()})
    return rows


def erasing_boxes():
    """Box of random erasing for scripted draws: area and log-aspect pairs until one fits, then top and left."""
    rows = []
    for size, attempts, corner in [
        ((32, 32), [(0.02, 0.0)], (3, 4)), ((32, 32), [(0.2, 1.1)], (0, 12)), ((32, 32), [(0.33, -1.2), (0.1, 0.7)], (10, 0)),
        ((224, 224), [(0.17, -0.35)], (100, 7)), ((40, 24), [(0.33, -1.1), (0.3, -1.0), (0.05, -0.2)], (1, 2)),
    ]:
        uniforms = iter([value for area, aspect in attempts for value in (area, aspect)])
        integers = iter(corner)
        erase = random_erasing.RandomErasing(probability=1.0, mode="const", min_area=0.02, max_area=1 / 3, min_aspect=0.3, device="cpu")
        image = torch.ones(1, *size)
        with mock.patch.object(random_erasing.random, "uniform", lambda a, b: next(uniforms)), \
                mock.patch.object(random_erasing.random, "randint", lambda a, b: next(integers)), \
                mock.patch.object(random_erasing.random, "random", lambda: 0.0):
            erase(image)
        where = torch.nonzero(image[0] == 0)
        top, left = (int(v) for v in where.min(0).values)
        bottom, right = (int(v) + 1 for v in where.max(0).values)
        used = len(attempts) - len(list(uniforms)) // 2
        rows.append({"height": size[0], "width": size[1], "attempts": [list(a) for a in attempts], "top": corner[0], "left": corner[1],
                     "used": used, "box": [top, bottom, left, right]})
    return rows


def main(out) -> None:
    cases = Cases(pictures())
    for name, pixels in list(cases.images.items()):
        image = Image.fromarray(pixels)
        resizes(cases, name, image)
        augmentations(cases, name, image)
    special(cases)
    save_rows(out / "pillow.json", cases.rows)
    save(out / "pillow.safetensors", cases.tensors)
    save_json(out / "mixing.json", {"cutmix": cutmix_boxes(), "targets": targets(), "erasing": erasing_boxes()})


if __name__ == "__main__":
    main(HERE)
