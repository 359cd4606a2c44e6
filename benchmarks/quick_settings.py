"""Grid search for the settings of profile `quick` on held-out training images.

    python benchmarks/quick_settings.py rate        # rate and warm-up, each for both arms
    python benchmarks/quick_settings.py beta        # then the weight of transport, all stand-ins
    python benchmarks/quick_settings.py batch       # then the batch size, with two seeds each
    python benchmarks/quick_settings.py cifar10 --data-root DATA     # the same on real CIFAR-10

A fifth of each class of the training split is held out (by a hash of the image ids) for evaluation;
the test split is never loaded. All arms have the same grid of rates and warm-ups. The rows are
appended to benchmarks/quick_settings.csv, which the dataset cards cite as the source of their
values.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lico_bench import Recipe, train
from lico_bench.data import Dataset, card_names, load_card
from lico_bench.data.selection import hold_out
from lico_bench.training.loop import load_training_data

ROWS = Path(__file__).with_suffix(".csv")
HELD_OUT = 0.2
RATES = ((0.2, 0.3), (0.3, 0.3), (0.45, 0.3), (0.3, 0.15))  # rate, share of warm-up
BETAS = (1.0, 0.3, 0.1)
BETA_OF_RATE_GRID = 0.1
HARD = ("svhn", "cifar10", "imagenet")  # stand-ins on which the rate is chosen
# Batch size, rate, text_every: the number of encodings per epoch is constant.
BATCHES = ((64, 0.45, 4), (32, 0.2, 8), (32, 0.3, 8))
Trial = tuple[str, dict[str, Any], dict[str, Any]]  # arm, recipe fields, objective options


def main() -> None:
    """Train all settings of the grid; print and store a row per training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", choices=("rate", "beta", "batch", "cifar10"))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--datasets", default="", help="Names with commas between.")
    args = parser.parse_args()
    source = "real" if args.grid == "cifar10" else "standin"
    usual = {
        "rate": HARD, "beta": card_names(), "batch": ("svhn", "cifar10", "cub200"),
        "cifar10": ("cifar10",),
    }[args.grid]  # fmt: skip
    for name in args.datasets.split(",") if args.datasets else usual:
        card = load_card(name)
        settings = card.recipe("quick", source)  # type: ignore[arg-type]
        base = Recipe(name, settings["backbone"], "baseline", source=source)  # type: ignore[arg-type]
        base = base.with_options(settings)
        learnt, judged = _split(load_training_data(base, args.data_root))
        for arm, changes, options in _trials(args.grid):
            tuned = {} if arm == "baseline" else card.objective("quick", source) | options  # type: ignore[arg-type]
            recipe = base.with_options({**changes, "arm": arm, "objective": tuned})
            _append(_row(args.grid, recipe, learnt, judged, options))


def _trials(grid: str) -> Iterator[Trial]:
    if grid == "batch":
        for size, rate, text_every in BATCHES:
            for seed in (0, 1):
                changes = {"epochs": 4, "batch_size": size, "learning_rate": rate, "seed": seed}
                yield "baseline", changes, {}
                yield "lico", changes, {"text_every": text_every}
        return
    if grid == "beta":
        yield "baseline", {}, {}
        for beta in BETAS:
            yield "lico", {}, {"beta": beta}
        return
    for rate, warmup in RATES if grid == "rate" else RATES[:2]:
        changes = {"learning_rate": rate, "warmup_frac": warmup}
        yield "baseline", changes, {}
        for beta in (BETA_OF_RATE_GRID,) if grid == "rate" else (1.0, 0.1):
            yield "lico", changes, {"beta": beta}


def _split(data: Dataset) -> tuple[Dataset, Dataset]:
    held = hold_out(data.labels.numpy(), data.image_ids, HELD_OUT, salt="quick settings").tolist()
    chosen = set(held)
    return data.subset([i for i in range(len(data)) if i not in chosen]), data.subset(held)


def _row(
    grid: str, recipe: Recipe, learnt: Dataset, judged: Dataset, options: dict[str, Any]
) -> dict[str, Any]:
    started = time.perf_counter()
    trained = train(recipe, device="cpu", dataset=learnt)
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        found = [
            trained.classifier(judged.read(part)).logits.argmax(1)
            for part in torch.arange(len(judged)).split(64)
        ]
    history = trained.history.set_index(["epoch", "quantity"])["value"]
    return {
        "grid": grid, "dataset": recipe.dataset, "source": recipe.source, "arm": recipe.arm,
        "seed": recipe.seed, "backbone": recipe.backbone, "epochs": recipe.epochs,
        "batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate,
        "warmup_frac": recipe.warmup_frac, "beta": options.get("beta", ""),
        "held_out_accuracy": round(float((torch.cat(found) == judged.labels).float().mean()), 4),
        "channel_cosine": round(float(history[recipe.epochs, "channel_cosine"]), 3),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def _append(row: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    is_new = not ROWS.exists()
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
