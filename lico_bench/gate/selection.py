"""Which metrics and methods are judged, where not all are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.errors import UnknownNameError


@dataclass(frozen=True)
class Selection:
    """Names of metrics and of methods; empty takes all."""

    metrics: Sequence[str] = ()
    methods: Sequence[str] = ()

    def takes(self, metric: str, method: str) -> bool:
        """Whether a score is meant."""
        return (not self.metrics or metric in self.metrics) and (
            not self.methods or method in self.methods
        )

    def of(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows are meant, by their columns `metric` and `method`."""
        pairs = zip(frame["metric"], frame["method"], strict=True)
        return np.array([self.takes(*pair) for pair in pairs], dtype=bool)

    def check_known(self, frame: pd.DataFrame, where: str) -> None:
        """Raise unless `frame` has every metric and method that was asked for.

        Raises:
            UnknownNameError: for the first that it lacks.
        """
        for kind, wanted in (("metric", self.metrics), ("method", self.methods)):
            known = [str(name) for name in frame[kind].unique() if name]
            for name in wanted:
                if name not in known:
                    raise UnknownNameError.of(f"{kind} in {where}", name, known)


ALL = Selection()
