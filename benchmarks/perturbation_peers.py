"""Compare insertion and deletion curves with Quantus' pixel flipping and with RISE's loop.

Limits on two cores: deletion with 32 pixels per step at least 4 times faster than Quantus with the
same settings; both curves at least 1.2 times faster than the loop of the published RISE script,
rewritten from its description.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lico_bench.metrics import deletion_curve, perturbation_curves
from lico_bench.metrics.perturbation import near_box
from lico_bench.models import build_classifier

QUANTUS_BAR, RISE_BAR = 4.0, 1.2
SIZE, CLASSES = 32, 10
RISE_STEPS = 28
RISE_BATCH = 64  # images per forward pass in the script


class Logits(nn.Module):
    """A model that returns a tensor of logits, as other libraries require."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K)."""
        return self.classifier(images).logits


def quantus_deletion(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, maps: torch.Tensor
) -> Callable[[], None]:
    """Return a call of Quantus' pixel flipping with 32 elements per step, one-channel maps."""
    import quantus

    metric = quantus.PixelFlipping(
        features_in_step=32, perturb_baseline=0.45, abs=False, normalise=False,
        return_aggregate=False, disable_warnings=True, display_progressbar=False,
    )  # fmt: skip
    arrays = [images.numpy(), targets.numpy(), maps[:, None].numpy()]

    def measure() -> None:
        metric(
            model=model, x_batch=arrays[0], y_batch=arrays[1], a_batch=arrays[2],
            device="cpu", channel_first=True, batch_size=len(images), softmax=True,
        )  # fmt: skip

    return measure


def rise_loop(
    model: nn.Module, images: torch.Tensor, maps: torch.Tensor
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Return a call of the batch evaluation of Petsiuk et al., rewritten.

    It predicts the class of every image first. Each step then scores all images in batches and
    overwrites the next pixels of every image, one image after the other, in NumPy.
    """
    kernel = torch.outer(near_box(5.0, 11), near_box(5.0, 11))
    weights = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        weights[channel, channel] = kernel
    grey = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    count, area = len(images), SIZE * SIZE
    edges = [round(j * area / RISE_STEPS) for j in range(RISE_STEPS + 1)]

    def scores_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([model(part).softmax(1) for part in batch.split(RISE_BATCH)])

    def one(mode: str) -> np.ndarray:
        top = scores_of(images).argmax(1).numpy()
        order = np.flip(np.argsort(maps.reshape(count, -1).numpy(), axis=1), axis=-1)
        if mode == "deletion":
            state, finish = images.clone(), grey.expand_as(images).clone()
        else:
            blurred = torch.nn.functional.conv2d(images - grey, weights, padding=5) + grey
            state, finish = blurred, images.clone()
        values = np.empty((len(edges), count))
        flat, source = state.numpy().reshape(count, 3, -1), finish.numpy().reshape(count, 3, -1)
        for number in range(len(edges)):
            values[number] = scores_of(torch.from_numpy(flat.reshape(images.shape)))[
                np.arange(count), top
            ]
            if number + 1 < len(edges):
                for index in range(count):
                    pixels = order[index, edges[number] : edges[number + 1]]
                    flat[index][:, pixels] = source[index][:, pixels]
        return values.T

    return lambda: (one("insertion"), one("deletion"))


def compare(
    title: str, theirs: Callable[[], object], ours: Callable[[], object], bar: float, rounds: int
) -> bool:
    """Time both alternately and print; return whether the limit was missed."""
    slow, fast = [], []
    for number in range(rounds + 1):
        started = time.perf_counter()
        theirs()
        between = time.perf_counter()
        ours()
        if number:  # the first round warms up
            slow.append(between - started)
            fast.append(time.perf_counter() - between)
    ratios = [s / f for s, f in zip(slow, fast, strict=True)]
    ratio = statistics.median(ratios)
    print(title)
    print(f"theirs  {statistics.median(slow):7.2f} s")
    print(f"ours    {statistics.median(fast):7.2f} s")
    print(f"faster  {ratio:7.2f} x   rounds {min(ratios):.2f} to {max(ratios):.2f}, bar {bar}")
    return ratio < bar


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    rng = torch.Generator().manual_seed(0)
    classifier = build_classifier(
        "wrn_16_2", num_classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).eval()
    model = Logits(classifier).eval()  # default memory format, the same for both sides
    images = torch.rand(args.images, 3, SIZE, SIZE, generator=rng)
    maps = torch.rand(args.images, SIZE, SIZE, generator=rng)
    with torch.inference_mode():
        targets = model(images).argmax(1)

    loop = rise_loop(model, images, maps)
    made = perturbation_curves(model, images, targets, maps, protocol="rise_2018")
    apart = max(
        float(np.abs(theirs - ours.numpy()).max())
        for theirs, ours in zip(loop(), (made.insertion, made.deletion), strict=True)
    )
    print(f"{args.images} images, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"curves of the RISE loop and ours differ by at most {apart:.1e}")
    missed = [
        compare(
            "deletion, 32 pixels a step, against Quantus PixelFlipping with the same settings",
            quantus_deletion(model, images, targets, maps),
            lambda: deletion_curve(model, images, targets, maps),
            QUANTUS_BAR,
            args.rounds,
        ),
        compare(
            "insertion and deletion, 28 steps, against the RISE loop",
            loop,
            lambda: perturbation_curves(model, images, targets, maps, protocol="rise_2018"),
            RISE_BAR,
            args.rounds,
        ),
    ]
    sys.exit(any(missed) or apart > 1e-4)


if __name__ == "__main__":
    main()
