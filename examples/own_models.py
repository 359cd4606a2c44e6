"""Compare the saliency maps of two user models on user images.

    uv run python examples/own_models.py [IMAGES]

IMAGES is a folder with one folder of images per class; without it, images are drawn. The models are
a small network trained with and without noise; replace them by yours. `compare` shows the calls.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import lico_bench

UPDATES = 120


def compare(first: nn.Module, second: nn.Module, dataset: lico_bench.Dataset) -> pd.DataFrame:
    """Return paired differences of two models with intervals."""
    scores = lico_bench.evaluate(
        {"baseline": first, "mine": second},  # any modules from (N, 3, H, W) in [0, 1] to logits
        dataset,
        methods=["grad_cam", "random_map"],
        metrics=["insertion", "deletion", "overall"],
        layer="4",  # dotted name of the last convolution, in both
        limit=64,
    )
    found = lico_bench.paired_differences(scores)
    return found[["method", "metric", "difference", "low", "high", "p_value", "num_images"]]


def train_small(dataset: lico_bench.Dataset, *, noise: float) -> nn.Module:
    """Train a network of three convolutions for a few seconds."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, dataset.num_classes),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    all_images = dataset.images
    for _ in range(UPDATES):
        chosen = torch.randint(len(dataset), (64,))
        images = all_images[chosen]
        loss = nn.functional.cross_entropy(
            model(images + noise * torch.randn_like(images)), dataset.labels[chosen]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def draw_images(folder: Path) -> None:
    """Write drawn scenes as PNG files, one folder per class."""
    from torchvision.utils import save_image

    scenes = lico_bench.load_dataset("cifar10", "train", source="standin")
    for number, image in enumerate(scenes.read(range(400))):
        name = scenes.class_names[int(scenes.labels[number])]
        (folder / name).mkdir(exist_ok=True)
        save_image(image, folder / name / f"{number:03d}.png")


def main() -> None:
    """Load, train, compare, print."""
    with tempfile.TemporaryDirectory() as drawn:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else drawn)
        if len(sys.argv) == 1:
            draw_images(folder)
        dataset = lico_bench.load_images(folder)
        plain, noisy = (train_small(dataset, noise=noise) for noise in (0.0, 0.2))
        print(compare(plain, noisy, dataset).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
