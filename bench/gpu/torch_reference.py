"""The PyTorch side of bench/gpu: the same work, eager, with TF32 off. Needs torch and numpy; writes JSON.

    python3 torch_reference.py --out torch.json [--small] [--minutes 4]
"""
import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SAMPLES = 5
LEAST_SECONDS = 0.3
MATMULS = [1024, 2048, 4096, 8192]
MODELS = {"DeiT-Ti": (192, 3), "DeiT-S": (384, 6), "DeiT-B": (768, 12)}
FULL = {"image": 224, "patch": 16, "depth": 12, "classes": 1000, "batch": 256, "largest": 1024}
SMALL = {"image": 32, "patch": 8, "depth": 2, "classes": 10, "batch": 4, "largest": 8}
IMAGE_STREAM = 1_000_000


def draw(n, stream):
    """n values in [-1, 1) that depend on index and stream alone: murmur3's finaliser, as in work.ts."""
    with np.errstate(over="ignore"):
        h = np.arange(n, dtype=np.uint32) + np.uint32(stream * 0x9E3779B9 & 0xFFFFFFFF)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return (h.astype(np.float64) / 2**31 - 1).astype(np.float32)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Deit(nn.Module):
    """Distilled DeiT under timm's names."""

    def __init__(self, width, heads, size):
        super().__init__()
        tokens = (size["image"] // size["patch"]) ** 2 + 2
        self.patch_embed = PatchEmbed(width, size["patch"])
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(size["depth"])])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, size["classes"])
        self.head_dist = nn.Linear(width, size["classes"])

    def forward(self, x):
        x = self.patch_embed(x)
        extra = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.dist_token)]
        x = self.norm(self.blocks(torch.cat([*extra, x], 1) + self.pos_embed))
        return self.head(x[:, 0]), self.head_dist(x[:, 1])


def filled(width, heads, size, device):
    model = Deit(width, heads, size)
    with torch.no_grad():
        for stream, (name, p) in enumerate(sorted(model.named_parameters())):
            values = draw(p.numel(), stream) * np.float32(0.035)
            if "norm" in name and name.endswith("weight"):
                values = values + np.float32(1)
            p.copy_(torch.from_numpy(values).reshape(p.shape))
    return model.to(device)


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def median_ms(work, device, samples=SAMPLES):
    """Median of samples of as many runs as take a while, after a warm-up."""
    work()
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    runs = max(1, min(200, int(LEAST_SECONDS / max(1e-6, time.perf_counter() - start))))
    if device == "cpu":
        samples = 1  # a try without a GPU
    found = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(runs):
            work()
        synchronize(device)
        found.append((time.perf_counter() - start) / runs * 1000)
    return statistics.median(found)


def kernel_ms(work, device):
    """Time in kernels of one run, None without CUDA."""
    if device != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    events = [e for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return sum(e.time_range.elapsed_us() for e in events) / 1000


def matmuls(sizes, device):
    rows = {}
    for n in sizes:
        a, b = (torch.from_numpy(draw(n * n, s)).reshape(n, n).to(device) for s in (1, 2))
        row = {"f32": median_ms(lambda: a @ b, device)}
        if device == "cuda":
            half_a, half_b = a.half(), b.half()
            row["f16"] = median_ms(lambda: half_a @ half_b, device)
        rows[str(n)] = row
        print(f"matmul {n}: {row}", flush=True)
    return rows


def forward_work(model, images, amp, device):
    def run():
        with torch.no_grad(), torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16, enabled=amp):
            return model(images)

    return run


def training_work(model, images, labels, amp, device):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    scaler = torch.amp.GradScaler(device, enabled=amp and device == "cuda")

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16, enabled=amp):
            cls, dist = model(images)
            loss = 0.5 * (F.cross_entropy(cls, labels) + F.cross_entropy(dist, labels))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return run


def at_batch(name, size, batch, device, check):
    width, heads = MODELS[name]
    images = torch.from_numpy(draw(batch * 3 * size["image"] ** 2, IMAGE_STREAM))
    images = images.reshape(batch, 3, size["image"], size["image"]).to(device)
    labels = (torch.arange(batch) % size["classes"]).to(device)
    row = {"batch": batch}
    for mode, amp in (("f32", False), ("amp", True)):
        model = filled(width, heads, size, device).eval()
        run = forward_work(model, images, amp, device)
        if check and not amp:
            row["logits"] = [head[0, :8].tolist() for head in run()]
        ms = median_ms(run, device)
        row[f"forward_{mode}"] = {"imagesPerSecond": 1000 * batch / ms, "ms": ms, "kernelMs": kernel_ms(run, device)}
        run = training_work(model.train(), images, labels, amp, device)
        if check and not amp:
            row["losses"] = [run().item() for _ in range(3)]
        ms = median_ms(run, device)
        row[f"training_{mode}"] = {"imagesPerSecond": 1000 * batch / ms, "ms": ms, "kernelMs": kernel_ms(run, device)}
        del model, run
    return row


def models(size, device, deadline):
    rows = {}
    # The batch that everything is compared at first; larger ones while there is time.
    for name in MODELS:
        rows[name] = []
        try:
            rows[name].append(at_batch(name, size, size["batch"], device, check=True))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        print(name, rows[name], flush=True)
    for name in MODELS:
        batch = 2 * size["batch"]
        while rows[name] and batch <= size["largest"] and time.monotonic() < deadline:
            try:
                rows[name].append(at_batch(name, size, batch, device, check=False))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            print(name, rows[name][-1], flush=True)
            batch *= 2
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=4)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    size = SMALL if options.small else FULL
    report = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "small": options.small,
        "matmul": matmuls([64, 100] if options.small else MATMULS, device),
        "models": models(size, device, deadline),
    }
    with open(options.out, "w") as file:
        json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
