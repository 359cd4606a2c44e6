"""Cost of insertion and deletion curves against the bare forwards of the same number and size.

Bar: at most 1.25 times (wrn_16_2, 32 px, 256 pictures, two cores).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from lico_bench.metrics import PROTOCOLS, perturbation_curves
from lico_bench.metrics.perturbation import default_micro_batch
from lico_bench.models import build_classifier

BAR = 1.25


def bare_forwards(model: torch.nn.Module, pictures: torch.Tensor, forwards: int) -> None:
    """Send `forwards` pictures through the model, one fixed micro-batch again and again."""
    with torch.inference_mode():
        for _ in range(-(-forwards // len(pictures))):
            model(pictures)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wrn_16_2")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()

    rng = torch.Generator().manual_seed(0)
    model = build_classifier(
        asked.backbone, num_classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    )
    model = model.eval().to(memory_format=torch.channels_last)
    images = torch.rand(asked.images, 3, asked.size, asked.size, generator=rng)
    maps = torch.rand(asked.images, asked.size, asked.size, generator=rng)
    targets = torch.randint(0, 10, (asked.images,), generator=rng)
    size = default_micro_batch(images)
    pictures = images[:size].contiguous(memory_format=torch.channels_last)
    forwards = 2 * PROTOCOLS["lico_bench_1"].steps * asked.images + 1

    bare_forwards(model, pictures, 10 * size)
    curves, bare = [], []
    for _ in range(asked.rounds):
        started = time.perf_counter()
        bare_forwards(model, pictures, forwards)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        made = perturbation_curves(model, images, targets, maps)
        curves.append(time.perf_counter() - started)
        if made.forwards != forwards:
            raise SystemExit(f"expected {forwards} forwards, counted {made.forwards}")
    ratios = [c / b for c, b in zip(curves, bare, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"{asked.backbone}, {asked.size} px, {asked.images} images, {forwards} forwards of {size}"
    )
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, {asked.rounds} rounds")
    print(f"bare forwards  {statistics.median(bare):7.2f} s")
    print(f"both curves    {statistics.median(curves):7.2f} s")
    print(f"ratio          {ratio:7.3f}   rounds {min(ratios):.3f} to {max(ratios):.3f}, bar {BAR}")
    sys.exit(ratio > BAR)


if __name__ == "__main__":
    main()
