"""The parts of timm's data pipeline, timed on request: `python timm_parts.py FOLDER`, then a name of a part a line on standard
input; for each a line with the milliseconds of CPU time an image. One thread, no worker processes: what they add is left out."""

import io
import os
import sys
import time

import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from torchvision.datasets import ImageFolder

torch.set_num_threads(1)
# Pillow 13 refuses to keep 0 bits, which RandAugment asks for at level 10.
posterize = ImageOps.posterize
ImageOps.posterize = lambda image, bits: posterize(image, max(1, bits))
FOLDER, COUNT, SIZE, BATCH = sys.argv[1], int(sys.argv[2]), 224, 50


def spread(items, count):
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def training(**options):
    return create_transform(SIZE, is_training=True, interpolation="bicubic", color_jitter=0.0, **options)


class Some(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.base = ImageFolder(FOLDER, transform)
        self.base.samples = spread(sorted(self.base.samples), COUNT)

    def __len__(self):
        return len(self.base.samples)

    def __getitem__(self, i):
        return self.base[i]


FILES = [path for path, _ in Some(None).base.samples]
BYTES = [open(path, "rb").read() for path in FILES]
IMAGES = [Image.open(io.BytesIO(data)).convert("RGB") for data in BYTES]
FULL = dict(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, re_mode="pixel", re_count=1)


def loader(transform, shuffle):
    data = torch.utils.data.DataLoader(Some(transform), BATCH, shuffle=shuffle, num_workers=0)
    return lambda: [None for _ in data]


def each(transform):
    return lambda: [transform(image) for image in IMAGES]


PARTS = {
    "decode": lambda: [Image.open(io.BytesIO(data)).convert("RGB") for data in BYTES],
    "crop": each(training()),
    "augment": each(training(auto_augment="rand-m9-mstd0.5-inc1")),
    "training": loader(training(**FULL), True),
    "evaluation": loader(create_transform(SIZE, is_training=False, interpolation="bicubic", crop_pct=0.875), False),
}
print("ready", flush=True)
for line in sys.stdin:
    start = time.process_time()
    PARTS[line.strip()]()
    print((time.process_time() - start) * 1000 / len(FILES), flush=True)
