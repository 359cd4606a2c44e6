"""Random rows with a known noise model, for the tests of the statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.records import ROW_COLUMNS


def rows_of(
    values: np.ndarray,
    *,
    arm: str = "baseline",
    metric: str = "insertion",
    method: str = "grad_cam",
    protocol: str = "lico_bench_1@1a2b3c4d",
    dataset: str = "cifar10",
    correct: np.ndarray | bool = True,
    flag: str = "",
) -> pd.DataFrame:
    """Return rows of one arm; `values` is (seeds, images)."""
    seeds, images = np.indices(values.shape).reshape(2, -1)
    frame = pd.DataFrame(
        {
            "pair": [f"pair-{s}" for s in seeds],
            "cell": [f"{arm}-{s}" for s in seeds],
            "dataset": dataset,
            "source": "real",
            "backbone": "wrn_10_2",
            "arm": arm,
            "seed": seeds,
            "labels": "full",
            "image_id": [f"test/{i:05d}" for i in images],
            "target": 0,
            "correct": np.broadcast_to(correct, values.shape).ravel(),
            "method": method,
            "metric": metric,
            "protocol": protocol,
            "value": values.ravel(),
            "flag": np.where(np.isnan(values.ravel()), flag or "skipped_region", flag),
        }
    )
    return frame[list(ROW_COLUMNS)]


def pair_of(baseline: np.ndarray, lico: np.ndarray, **facts: object) -> pd.DataFrame:
    """Return rows of both arms."""
    both = [rows_of(baseline, **facts), rows_of(lico, arm="lico", **facts)]
    return pd.concat(both, ignore_index=True)
