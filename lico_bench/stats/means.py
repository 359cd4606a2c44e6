"""The mean of each arm for itself, with its interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lico_bench.stats.bootstrap import RESAMPLES, Estimates, two_level
from lico_bench.stats.grid import Grid, build_grids

MEAN_COLUMNS = (
    "dataset", "source", "backbone", "labels", "arm", "method", "metric", "protocol", "mean",
    "low", "high", "seed_part", "image_part", "interval_over", "num_images", "num_seeds",
    "num_skipped", "num_flagged", "seeds", "per_seed", "note",
)  # fmt: skip


def arm_means(
    scores: Any, *, interval: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per dataset, arm, method and metric: the mean, its interval, what it rests on.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or anything with `to_frame()` or `rows()`.
        interval: nominal coverage.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Returns:
        Columns `MEAN_COLUMNS`. `low` and `high` cover trainings and images alike when there are
        several seeds, else the images alone, as `interval_over` says. `num_skipped` counts values
        that are missing with a reason, `num_flagged` all that carry a flag; `note` is a sentence
        where a number is missing.

    Raises:
        InvalidInputError: for rows that `build_grids` refuses.
        NotComparableError: for rows of two protocols in one metric.
    """
    records: list[dict[str, Any]] = []
    for grid in build_grids(scores):
        for number, arm in enumerate(grid.arms):
            estimates = two_level(
                grid.values[number], interval=interval, resamples=resamples, seed=seed
            )
            records += _records(grid, number, arm, estimates)
    return pd.DataFrame(records, columns=list(MEAN_COLUMNS))


def _records(grid: Grid, number: int, arm: str, found: Estimates) -> list[dict[str, Any]]:
    present, flagged = grid.present[number], grid.flagged[number]
    skipped = present & ~pd.notna(grid.values[number])
    return [
        {
            **grid.setting,
            "arm": arm,
            **column._asdict(),
            "mean": found.mean[c],
            **describe(found, c, grid.seeds),
            "num_skipped": int(skipped[:, :, c].sum()),
            "num_flagged": int(flagged[:, :, c].sum()),
        }
        for c, column in enumerate(grid.columns)
        if present[:, :, c].any()
    ]


def describe(found: Estimates, column: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """The fields that means and differences share: interval, its parts and what it rests on."""
    used = [s for s in range(len(seeds)) if pd.notna(found.per_seed[s, column])]
    num_images, num_seeds = int(found.num_images[column]), int(found.num_seeds[column])
    over = "" if num_images < 2 else "images" if num_seeds == 1 else "seeds and images"
    return {
        "low": found.low[column],
        "high": found.high[column],
        "seed_part": found.seed_part[column],
        "image_part": found.image_part[column],
        "interval_over": over,
        "num_images": num_images,
        "num_seeds": num_seeds,
        "seeds": [seeds[s] for s in used],
        "per_seed": [float(found.per_seed[s, column]) for s in used],
        "note": _note(num_images),
    }


def _note(num_images: int) -> str:
    if num_images == 0:
        return "every image was skipped, so there is no mean"
    if num_images == 1:
        return "a single image, so there is no interval"
    return ""
