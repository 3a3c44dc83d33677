#!/usr/bin/env bash
# All of bench/gpu in one go, on a machine with an NVIDIA GPU: under 10 minutes. Results: $OUT (default: ./results).
# Needs python3 with torch and numpy, a Vulkan driver (libvulkan1 and the NVIDIA one), and node 20.19 or newer, unless
# the bundle brings its own. `./run.sh --small` tries everything on tiny sizes, without a GPU too.
set -uo pipefail
cd "$(dirname "$0")"
OUT=${OUT:-results}
mkdir -p "$OUT"
node=$(command -v node || true)
[ -x ./node ] && node=./node
[ -n "$node" ] || { echo "no node: install Node 20.19 or newer, or bundle with --with-node" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$OUT/gpu.txt"
python3 torch_reference.py --out "$OUT/torch.json" --minutes 3 "$@" || echo "PyTorch's part failed" >&2
"$node" bin/bench-gpu.mjs --torch "$OUT/torch.json" --out "$OUT/bench-gpu.json" --minutes 4 "$@" | tee "$OUT/table.md"
