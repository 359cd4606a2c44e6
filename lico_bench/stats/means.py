"""Mean of each arm with its interval."""

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
    """Return the mean score per dataset, arm, method and metric, with its interval.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or an object with `to_frame()` or `rows()`.
        interval: nominal coverage.
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        Columns `MEAN_COLUMNS`. `low` and `high` cover the variation over seeds and images with
        several seeds, else over images only, as given by `interval_over`. `num_skipped` counts
        missing values, `num_flagged` all flagged rows. `note` explains a missing number.

    Raises:
        InvalidInputError, NotComparableError: as `build_grids`.
    """
    records: list[dict[str, object]] = []
    for grid in build_grids(scores):
        for number, arm in enumerate(grid.arms):
            estimates = two_level(
                grid.values[number], interval=interval, resamples=resamples, seed=seed
            )
            records += _records(grid, number, arm, estimates)
    return pd.DataFrame(records, columns=list(MEAN_COLUMNS))


def _records(grid: Grid, number: int, arm: str, estimates: Estimates) -> list[dict[str, object]]:
    present, flagged = grid.present[number], grid.flagged[number]
    skipped = present & ~pd.notna(grid.values[number])
    return [
        {
            **grid.setting,
            "arm": arm,
            **column._asdict(),
            "mean": estimates.mean[c],
            **interval_fields(estimates, c, grid.seeds),
            "num_skipped": int(skipped[:, :, c].sum()),
            "num_flagged": int(flagged[:, :, c].sum()),
        }
        for c, column in enumerate(grid.columns)
        if present[:, :, c].any()
    ]


def interval_fields(estimates: Estimates, column: int, seeds: tuple[int, ...]) -> dict[str, object]:
    """Return the fields that means and differences share: interval, its parts and counts."""
    used = [s for s in range(len(seeds)) if pd.notna(estimates.per_seed[s, column])]
    num_images, num_seeds = int(estimates.num_images[column]), int(estimates.num_seeds[column])
    over = "" if num_images < 2 else "images" if num_seeds == 1 else "seeds and images"
    return {
        "low": estimates.low[column],
        "high": estimates.high[column],
        "seed_part": estimates.seed_part[column],
        "image_part": estimates.image_part[column],
        "interval_over": over,
        "num_images": num_images,
        "num_seeds": num_seeds,
        "seeds": [seeds[s] for s in used],
        "per_seed": [float(estimates.per_seed[s, column]) for s in used],
        "note": _note(num_images),
    }


def _note(num_images: int) -> str:
    if num_images == 0:
        return "every image was skipped, so there is no mean"
    if num_images == 1:
        return "a single image, so there is no interval"
    return ""
