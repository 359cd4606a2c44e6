"""Time of a LICO step relative to a baseline step, and of inference with both classifiers.

Limits: a ratio of 1.15 with 10 classes and 1.5 with 100 (wrn_28_2, batch 128, float32, two cores);
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
from lico_bench.training.loop import prepare
from lico_bench.training.session import Session

NAMES_FROM = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}
CPU_BARS, GPU_BAR, INFERENCE_SLACK = {10: 1.15, 100: 1.5, 1000: 1.5}, 1.15, 0.02
ARMS = ("baseline", "lico")
WARM_STEPS = 3
BATCHES = 4  # per epoch


def drawn_images(num_classes: int, size: int, count: int) -> Dataset:
    """Return drawn images with the class names of a dataset with `num_classes` classes."""
    drawn = load_dataset("cifar10", "train", source="standin", image_size=size, limit=count)
    card = load_card(NAMES_FROM[num_classes])
    labels = torch.randint(num_classes, (count,), generator=torch.Generator().manual_seed(0))
    return replace(
        drawn, labels=labels, class_names=card.class_names, prompt_names=card.prompt_names
    )


def alternate(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of alternating jobs, without the first rounds."""
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
    """Print the medians; print and return the median ratio over rounds."""
    ratios = [b / a for a, b in zip(took["baseline"], took["lico"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    medians = ", ".join(f"{arm} {statistics.median(times):.4f} s" for arm, times in took.items())
    print(f"{title}: {medians}, ratio {ratio:.3f} (middle half of rounds {low:.3f} to {high:.3f})")
    return ratio


def endless(session: Session) -> Callable[[], object]:
    """Return a call that runs the next step of a training."""
    steps = (step for _ in range(session.recipe.epochs) for step in session.run_epoch())
    return lambda: next(steps)


def forwards(classifier: Classifier, images: torch.Tensor) -> Callable[[], object]:
    """Return a call that runs a trained classifier on one batch."""

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
    args = parser.parse_args()

    device = pick_device(args.device)
    dataset = drawn_images(args.classes, args.size, args.batch * BATCHES)
    sessions = {}
    for arm in ARMS:
        recipe = Recipe(
            "cifar10", args.backbone, arm, source="standin", batch_size=args.batch,
            learning_rate=0.01, precision=args.precision, text_encoder=args.text_encoder,
            epochs=-(-(WARM_STEPS + args.rounds) // BATCHES),
        )  # fmt: skip
        sessions[arm] = prepare(recipe, device=str(device), dataset=dataset)
        # Diagnostics run once per epoch, which usually has hundreds of steps: they are not timed.
        sessions[arm]._record_diagnostics = lambda *_: None  # type: ignore[method-assign]
    what = f"{args.backbone}, {args.size} px, batch {args.batch}, {args.precision}, {device}"
    print(what)
    ratio = show(
        f"a step, {args.classes} classes",
        alternate({arm: endless(s) for arm, s in sessions.items()}, args.rounds),
    )
    images = dataset.read(range(args.batch)).to(device)
    trained = {arm: s.finish() for arm, s in sessions.items()}
    inference = show(
        "a forward of the trained classifier",
        alternate({a: forwards(c, images) for a, c in trained.items()}, 5 * args.rounds),
    )
    bar = GPU_BAR if device.type == "cuda" else CPU_BARS[args.classes]
    sys.exit(ratio > bar or abs(inference - 1) > INFERENCE_SLACK)


if __name__ == "__main__":
    main()
