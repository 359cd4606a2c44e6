"""Cost of a LICO step against a baseline step.

Bar: at most 1.25 times (wrn_28_2, batch 128, 10 classes, float32, two cores).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from lico_bench.data import load_dataset
from lico_bench.records import Recipe
from lico_bench.training.session import prepare

BAR = 1.25
WARM_STEPS = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wrn_28_2")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="float32")
    asked = parser.parse_args()

    # The two trainings take turns step by step, so that a busy moment hits both.
    steps = WARM_STEPS + asked.rounds
    dataset = load_dataset("cifar10", "train", source="standin", limit=asked.batch * 2)
    trainings = {}
    for arm in ("baseline", "lico"):
        recipe = Recipe(
            "cifar10", asked.backbone, arm, source="standin", epochs=-(-steps // 2),
            batch_size=asked.batch, learning_rate=0.01, precision=asked.precision,
        )  # fmt: skip
        session = prepare(recipe, device="cpu", dataset=dataset)
        trainings[arm] = (step for _ in range(recipe.epochs) for step in session.run_epoch())
    took: dict[str, list[float]] = {arm: [] for arm in trainings}
    for _ in range(steps):
        for arm, training in trainings.items():
            started = time.perf_counter()
            next(training)
            took[arm].append(time.perf_counter() - started)
    medians = {arm: statistics.median(times[WARM_STEPS:]) for arm, times in took.items()}
    pairs = zip(took["lico"][WARM_STEPS:], took["baseline"][WARM_STEPS:], strict=True)
    ratios = [lico / plain for lico, plain in pairs]
    ratio = statistics.median(ratios)
    print(
        f"{asked.backbone}, batch {asked.batch}, {dataset.num_classes} classes, {asked.precision}"
    )
    for arm, median in medians.items():
        print(f"{arm:9} {median:7.3f} s a step")
    print(f"ratio     {ratio:7.3f}   rounds {min(ratios):.3f} to {max(ratios):.3f}, bar {BAR}")
    sys.exit(ratio > BAR)


if __name__ == "__main__":
    main()
