"""Time of insertion and deletion curves relative to the same number of forward passes.

Limit: a ratio of 1.10 for wrn_16_2 at 32 px and for resnet18 at 224 px, on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from lico_bench.metrics import PROTOCOLS, perturbation_curves
from lico_bench.models import build_classifier, default_micro_batch

BAR = 1.10
CASES = {"wrn_16_2": (32, 256), "resnet18": (224, 8)}  # px, images


def bare_forwards(model: torch.nn.Module, micro_batch: torch.Tensor, forwards: int) -> None:
    """Run the model on `forwards` images by repeating one micro-batch."""
    with torch.inference_mode():
        for _ in range(-(-forwards // len(micro_batch))):
            result = model(micro_batch)
        float(result.logits[0, 0])  # wait for a GPU


def measure(backbone: str, size: int, num_images: int, rounds: int, device: str) -> float:
    """Print and return the median ratio for one backbone."""
    rng = torch.Generator().manual_seed(0)
    model = build_classifier(backbone, num_classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    model = model.eval().to(device, memory_format=torch.channels_last)
    images = torch.rand(num_images, 3, size, size, generator=rng).to(device)
    maps = torch.rand(num_images, size, size, generator=rng).to(device)
    targets = torch.randint(0, 10, (num_images,), generator=rng)
    batch = default_micro_batch(images)
    micro_batch = torch.rand(batch, 3, size, size, generator=rng).to(device)
    micro_batch = micro_batch.contiguous(memory_format=torch.channels_last)
    forwards = 2 * PROTOCOLS["lico_bench_1"].steps * num_images + 1

    bare_forwards(model, micro_batch, 10 * batch)
    curves, bare = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        bare_forwards(model, micro_batch, forwards)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        made = perturbation_curves(model, images, targets, maps)
        curves.append(time.perf_counter() - started)
        if made.forwards != forwards:
            raise SystemExit(f"expected {forwards} forwards, counted {made.forwards}")
    ratios = [c / b for c, b in zip(curves, bare, strict=True)]
    ratio = statistics.median(ratios)
    print(f"{backbone}, {size} px, {num_images} images, {forwards} forwards in batches of {batch}")
    print(f"bare forwards  {statistics.median(bare):7.2f} s")
    print(f"both curves    {statistics.median(curves):7.2f} s")
    print(f"ratio          {ratio:7.3f}   rounds {min(ratios):.3f} to {max(ratios):.3f}, bar {BAR}")
    return ratio


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=CASES, help="one of the two alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    chosen = [args.backbone] if args.backbone else list(CASES)
    print(f"{args.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    ratios = [measure(name, *CASES[name], args.rounds, args.device) for name in chosen]
    sys.exit(max(ratios) > BAR)


if __name__ == "__main__":
    main()
