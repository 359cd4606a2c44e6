"""Cost of a LICO step against a baseline step, and of the trained classifiers against each other.

Bars: at most 1.15 times with 10 classes, 1.5 with 100 (wrn_28_2, batch 128, float32, two cores);
on a GPU 1.15 for both and for resnet50 at 224 px with 1000. Inference: ratio 1.00 ± 0.02.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from lico_bench.data import Dataset, load_card, load_dataset
from lico_bench.models import Classifier
from lico_bench.records import Recipe
from lico_bench.runtime import pick_device
from lico_bench.training.preparation import prepare
from lico_bench.training.session import Session

NAMES_FROM = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}
CPU_BARS, GPU_BAR, INFERENCE_SLACK = {10: 1.15, 100: 1.5, 1000: 1.5}, 1.15, 0.02
ARMS = ("baseline", "lico")
WARM_STEPS = 3
BATCHES = 4  # in an epoch here


def pictures(num_classes: int, size: int, count: int) -> Dataset:
    """Drawn images under the class names of the dataset with so many classes."""
    drawn = load_dataset("cifar10", "train", source="standin", image_size=size, limit=count)
    card = load_card(NAMES_FROM[num_classes])
    labels = torch.randint(num_classes, (count,), generator=torch.Generator().manual_seed(0))
    return replace(
        drawn, labels=labels, class_names=card.class_names, prompt_names=card.prompt_names
    )


def alternate(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each job in turns, so that a busy moment hits both; the first rounds left out."""
    took: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(WARM_STEPS + rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took[name].append(time.perf_counter() - started)
    return {name: times[WARM_STEPS:] for name, times in took.items()}


def show(title: str, took: dict[str, list[float]]) -> float:
    """Print medians and the median ratio of the pairs of rounds, and return it."""
    ratios = [b / a for a, b in zip(took["baseline"], took["lico"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    medians = ", ".join(f"{arm} {statistics.median(times):.4f} s" for arm, times in took.items())
    print(f"{title}: {medians}, ratio {ratio:.3f} (middle half of rounds {low:.3f} to {high:.3f})")
    return ratio


def endless(session: Session) -> Callable[[], object]:
    """The next step of a training, epoch after epoch."""
    steps = (step for _ in range(session.recipe.epochs) for step in session.run_epoch())
    return lambda: next(steps)


def forwards(classifier: Classifier, images: torch.Tensor) -> Callable[[], object]:
    """One batch through a trained classifier."""

    def run() -> None:
        with torch.inference_mode():
            classifier(images)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wrn_28_2")
    parser.add_argument("--classes", type=int, default=10, choices=sorted(NAMES_FROM))
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--text-encoder", default="minilm")
    requested = parser.parse_args()

    device = pick_device(requested.device)
    dataset = pictures(requested.classes, requested.size, requested.batch * BATCHES)
    sessions = {}
    for arm in ARMS:
        recipe = Recipe(
            "cifar10", requested.backbone, arm, source="standin", batch_size=requested.batch,
            learning_rate=0.01, precision=requested.precision, text_encoder=requested.text_encoder,
            epochs=-(-(WARM_STEPS + requested.rounds) // BATCHES),
        )  # fmt: skip
        sessions[arm] = prepare(recipe, device=str(device), dataset=dataset)
        # Real epochs have hundreds of batches: their one closer look is not part of a step.
        sessions[arm]._look_closer = lambda *_: None  # type: ignore[method-assign]
    what = f"{requested.backbone}, {requested.size} px, batch {requested.batch}, {requested.precision}, {device}"
    print(what)
    ratio = show(
        f"a step, {requested.classes} classes",
        alternate({arm: endless(s) for arm, s in sessions.items()}, requested.rounds),
    )
    images = dataset.read(range(requested.batch)).to(device)
    trained = {arm: s.finish() for arm, s in sessions.items()}
    inference = show(
        "a forward of the trained classifier",
        alternate({a: forwards(c, images) for a, c in trained.items()}, 5 * requested.rounds),
    )
    bar = GPU_BAR if device.type == "cuda" else CPU_BARS[requested.classes]
    sys.exit(ratio > bar or abs(inference - 1) > INFERENCE_SLACK)


if __name__ == "__main__":
    main()
