"""Rows of one arm, for the tests of the gate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.records import ROW_COLUMNS

METRICS = {"deletion": {"higher_is_better": False}, "gini": {"higher_is_better": None}}


def rows_of(values, *, metric="deletion", method="grad_cam", protocol="lico_bench_1@0", seeds=1):
    num_images = len(values) // seeds
    frame = pd.DataFrame(
        {
            "pair": np.repeat([f"p{s}" for s in range(seeds)], num_images), "cell": "c",
            "dataset": "cifar10", "source": "real", "backbone": "wrn_10_2", "arm": "baseline",
            "seed": np.repeat(np.arange(seeds), num_images), "labels": "full",
            "image_id": [f"i{k}" for k in range(num_images)] * seeds, "target": 0, "correct": True,
            "method": method, "metric": metric, "protocol": protocol, "value": values, "flag": "",
        }
    )  # fmt: skip
    return frame[list(ROW_COLUMNS)]
