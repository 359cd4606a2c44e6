"""Curves of a run as if they were cascades of the sanity check."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.report.content import ReportContent

ENDS = {"grad_cam": 0.2, "random_map": 1.0}


def cascades_of(content: ReportContent, *, stages: int = 6) -> pd.DataFrame:
    """The run's curves as if they were cascades."""
    rng = np.random.default_rng(0)
    curves = content.run.curves()
    cascades = curves[curves["curve"] == "insertion"].assign(curve="cascade")
    cascades["fractions"] = [np.linspace(0, 1, stages + 1)] * len(cascades)
    cascades["values"] = [falling(rng, ENDS[method], stages) for method in cascades["method"]]
    return cascades


def falling(rng: np.random.Generator, end: float, stages: int) -> np.ndarray:
    steps = np.arange(stages + 1)
    values = end + (1 - end) * np.exp(-steps) + (1 - end) * 0.2 * rng.standard_normal(stages + 1)
    values[0] = 1
    return values.clip(-1, 1).astype(np.float32)
