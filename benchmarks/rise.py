"""Memory of RISE by number of masks, and its time relative to the forward passes.

Limits: the peak memory of 4,000 masks at 224 px is at most 20 MiB above that of 64, each in a new
process; a map takes at most 1.25 times its forward passes (wrn_16_2, 32 px, two cores).

The limit applies to memory in use, with a C library configured to return freed blocks to the
system. The second column has the default configuration, which retains some of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from lico_bench.models import build_classifier, default_micro_batch
from lico_bench.saliency import explain

MEMORY_BAR_MIB, RATIO_BAR = 20, 1.25
MASK_COUNTS = (64, 512, 4000)
MEMORY_SIZE = 224
RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}


def peak_mib() -> float:
    """Return the peak resident memory of this process without its parent (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("rise.py: no VmHWM in /proc/self/status; run this on Linux")


def explain_one(num_masks: int) -> None:
    """Print the peak memory of one map at 224 px of a tiny network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.rand(1, 3, MEMORY_SIZE, MEMORY_SIZE)
    explain(model, image, torch.tensor([0]), method="rise", num_masks=num_masks)
    print(peak_mib())


def measure_memory() -> bool:
    """Print the peak for each number of masks; return whether the limit is missed."""
    peaks = []
    print("masks   peak MiB   by default   size of all masks")
    for count in MASK_COUNTS:
        peaks.append(peak_of(count, RETURN_FREED_MEMORY))
        all_masks_mib = count * MEMORY_SIZE**2 * 4 / 2**20
        print(f"{count:5d}  {peaks[-1]:9.1f}  {peak_of(count, {}):11.1f}  {all_masks_mib:18.1f}")
    growth = peaks[-1] - peaks[0]
    print(f"growth {growth:9.1f}   bar {MEMORY_BAR_MIB}")
    return growth >= MEMORY_BAR_MIB


def peak_of(num_masks: int, environment: dict[str, str]) -> float:
    """Return the peak memory in MiB of a new process that computes one map."""
    message = [sys.executable, __file__, "--only-memory-of", str(num_masks)]
    done = subprocess.run(
        message, check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return float(done.stdout)


def measure_cost(args: argparse.Namespace) -> bool:
    """Print the time of maps and of their forward passes; return whether the limit is missed."""
    rng = torch.Generator().manual_seed(0)
    model = build_classifier(
        args.backbone, num_classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    )
    model = model.eval().to(memory_format=torch.channels_last)
    images = torch.rand(args.images, 3, args.size, args.size, generator=rng)
    targets = torch.randint(0, 10, (args.images,), generator=rng)
    size = default_micro_batch(images)
    micro_batch = images.repeat(-(-size // args.images), 1, 1, 1)[:size]
    micro_batch = micro_batch.contiguous(memory_format=torch.channels_last)
    forwards = args.images * args.masks
    explain(model, images[:1], targets[:1], method="rise", num_masks=4 * size)
    maps, bare = [], []
    for _ in range(args.rounds):
        started = time.perf_counter()
        with torch.inference_mode():
            for _ in range(-(-forwards // size)):
                model(micro_batch)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        explain(model, images, targets, method="rise", num_masks=args.masks)
        maps.append(time.perf_counter() - started)
    ratios = [m / b for m, b in zip(maps, bare, strict=True)]
    ratio = statistics.median(ratios)
    print(f"{args.backbone}, {args.size} px, {args.images} images, {forwards} forwards of {size}")
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, {args.rounds} rounds")
    print(f"bare forwards  {statistics.median(bare):7.2f} s")
    print(f"maps           {statistics.median(maps):7.2f} s")
    print(
        f"ratio          {ratio:7.3f}   "
        f"rounds {min(ratios):.3f} to {max(ratios):.3f}, bar {RATIO_BAR}"
    )
    return ratio > RATIO_BAR


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wrn_16_2")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--masks", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_memory_of is not None:
        explain_one(args.only_memory_of)
        return
    has_failed = measure_memory()
    has_failed |= measure_cost(args)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
