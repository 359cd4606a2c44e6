"""Compare ROAD's imputation with pytorch-grad-cam's noisy linear imputer on the same masks.

Limit: at least 20 times faster (64 maps at 64 px, shares 10 to 90 %, two cores). Half of the maps
are smooth (an upsampled coarse grid, like a CAM), half are random. Both sides add noise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional

from lico_bench.metrics.imputation import Imputer
from lico_bench.metrics.perturbation import rank_pixels

BAR = 20.0
NOISE = 0.01
AGREEMENT = 1e-4  # largest allowed difference of a pixel, without noise


def realistic_maps(num_maps: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw (N, S, S) maps: even ones smooth with a plateau at zero, odd ones random."""
    grids = torch.randn(num_maps, 1, size // 8, size // 8, generator=rng)
    smooth = functional.interpolate(grids, size=(size, size), mode="bilinear")[:, 0].clamp_min(0)
    smooth[1::2] = torch.rand(num_maps, size, size, generator=rng)[1::2]
    return smooth


def theirs(images: Tensor, keep: Tensor, noise: float) -> Tensor:
    """Impute image by image with a sparse direct solver."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    imputer = NoisyLinearImputer(noise)
    return torch.stack([imputer(x, k.float()) for x, k in zip(images, keep, strict=True)])


def ours(images: Tensor, keep: Tensor, noise: float) -> Tensor:
    """Impute all images at once."""
    filled = Imputer()(images, keep)
    if not filled.converged.all():
        raise SystemExit("the imputation did not converge")
    for image, kept in zip(filled.images, keep, strict=True):
        image.addcmul_(torch.randn_like(image), ~kept, value=noise)
    return filled.images


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--maps", type=int, default=64)
    parser.add_argument("--shares", type=int, nargs="+", default=list(range(10, 100, 10)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rng = torch.Generator().manual_seed(0)
    ranks = rank_pixels(realistic_maps(args.maps, args.size, rng))
    removed = torch.tensor([round(s * args.size**2 / 100) for s in args.shares])
    keep = (ranks[:, None] >= removed[:, None, None]).flatten(0, 1)
    images = torch.rand(args.maps, 3, args.size, args.size, generator=rng)
    images = images.repeat_interleave(len(removed), dim=0)

    num_checked = 2 * len(removed)  # a smooth and a random map
    difference = ours(images[:num_checked], keep[:num_checked], 0.0)
    difference -= theirs(images[:num_checked], keep[:num_checked], 0.0)
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(args.rounds):
        for name, fill in (("theirs", theirs), ("ours", ours)):
            started = time.perf_counter()
            fill(images, keep, NOISE)
            seconds[name].append(time.perf_counter() - started)
    ratios = [t / o for t, o in zip(seconds["theirs"], seconds["ours"], strict=True)]
    ratio = statistics.median(ratios)
    print(f"{args.maps} maps at {args.size} px, shares {args.shares} %: {len(keep)} systems")
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, {args.rounds} rounds")
    for name in ("theirs", "ours"):
        middle = statistics.median(seconds[name])
        print(f"{name:8s} {middle:8.2f} s  {1e3 * middle / len(keep):8.2f} ms a system")
    print(f"largest difference {float(difference.abs().max()):.1e}, bar {AGREEMENT:.0e}")
    print(f"faster by {ratio:8.1f}   rounds {min(ratios):.1f} to {max(ratios):.1f}, bar {BAR:.0f}")
    sys.exit(ratio < BAR or float(difference.abs().max()) > AGREEMENT)


if __name__ == "__main__":
    main()
