"""Rows of one arm, for the tests of the gate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.gate import Judgement
from lico_bench.records import ROW_COLUMNS
from tests.manifests import manifest_from

METRICS = {"deletion": {"higher_is_better": False}, "gini": {"higher_is_better": None}}


class Run:
    """What the gate reads of a run folder."""

    def __init__(self, rows, *, metrics=METRICS, methods=("grad_cam",), images="0123456789ab"):
        self._rows, self._metrics, self._methods = rows, metrics, methods
        self._images = images

    def manifest(self):
        methods = {name: {"is_control": name == "random_map"} for name in self._methods}
        datasets = {"cifar10": {"fingerprint": self._images}}
        return manifest_from({"metrics": self._metrics, "methods": methods, "datasets": datasets})

    def rows(self):
        return self._rows


def judgement(**changes):
    """A judgement as `check` makes them, with some fields changed."""
    facts = {
        "dataset": "cifar10", "backbone": "wrn_10_2", "labels": "full", "arm": "lico",
        "method": "grad_cam", "metric": "deletion", "outcome": "pass", "sentence": "well",
        "reference": 0.4, "margin": 0.05, "source": "standin", "title": "Deletion",
        "unit": "probability", "higher_is_better": False, "num_images": 16, "num_seeds": 1,
        "num_reference_seeds": 5, "mean": 0.41, "loss": 0.01, "loss_low": -0.01, "loss_high": 0.03,
    }  # fmt: skip
    return Judgement(**(facts | changes))


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
