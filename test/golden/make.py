"""Makes every golden file again and rewrites SHA256SUMS.

  python make.py             regenerate all
  python make.py NAME...     only these scripts (those of SCRIPTS below)
  python make.py --check     the files here are those that SHA256SUMS lists, to the byte
  python make.py --compare   regenerate elsewhere and compare values: another processor may differ in the last bits
"""

import hashlib
import importlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SCRIPTS = ["generator", "models", "ops", "operators", "optim", "scaler", "masked", "posembed", "pillow", "image_digests", "image_files", "intervals", "names", "training", "shipped"]
SUMS = HERE / "SHA256SUMS"


def products(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])


def generate(names, folder: Path) -> None:
    for name in names:
        print(f"-- {name}", flush=True)
        importlib.import_module(name).main(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check() -> int:
    listed = dict(reversed(line.split("  ", 1)) for line in SUMS.read_text().splitlines())
    found = {path.name: digest(path) for path in products(HERE)}
    problems = [f"changed: {n}" for n in listed if n in found and listed[n] != found[n]]
    problems += [f"missing: {n}" for n in listed if n not in found] + [f"not listed: {n}" for n in found if n not in listed]
    print("\n".join(problems) or f"{len(found)} files as listed")
    return 1 if problems else 0


def difference(old: Path, new: Path) -> float:
    """Largest relative difference of two files' tensors; infinite where names, shapes, types or integers differ."""
    from safetensors.numpy import load_file

    before, after = load_file(old), load_file(new)
    if before.keys() != after.keys():
        return float("inf")
    worst = 0.0
    for name, a in before.items():
        b = after[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        # What PyTorch's float32 makes of a run is not reproducible between processors, only of the same size.
        if "drift" in name or name.endswith(("32", "loss32")):
            continue
        if not np.issubdtype(a.dtype, np.floating):
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
            continue
        scale = max(float(np.linalg.norm(a)), 1e-12)
        worst = max(worst, float(np.linalg.norm(a.astype(np.float64) - b)) / scale)
    return worst


def without_noise(value):
    if isinstance(value, dict):
        return {k: without_noise(v) for k, v in value.items() if k != "noise"}
    return [without_noise(v) for v in value] if isinstance(value, list) else value


def compare() -> int:
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        generate(SCRIPTS, Path(folder))
        for new in products(Path(folder)):
            old = HERE / new.name
            if new.suffix == ".json":
                same = without_noise(json.loads(old.read_text())) == without_noise(json.loads(new.read_text()))
                verdict, bad = ("same" if same else "DIFFERENT"), not same
            else:
                gap = difference(old, new)
                bad = gap > 1e-6
                verdict = f"relative difference {gap:.1e}{' TOO LARGE' if bad else ''}"
            failed |= bad
            print(f"{new.name}: {verdict}")
    return 1 if failed else 0


def main(arguments) -> int:
    if arguments == ["--check"]:
        return check()
    if arguments == ["--compare"]:
        return compare()
    unknown = [name for name in arguments if name not in SCRIPTS]
    if unknown:
        print(f"no script named {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
        return 1
    generate(arguments or SCRIPTS, HERE)
    SUMS.write_text("".join(f"{digest(path)}  {path.name}\n" for path in products(HERE)))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main(sys.argv[1:]))
