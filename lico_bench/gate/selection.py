"""Selection of the metrics and methods to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.errors import UnknownNameError


@dataclass(frozen=True)
class Selection:
    """Names of metrics and methods to judge; an empty sequence selects all."""

    metrics: Sequence[str] = ()
    methods: Sequence[str] = ()

    def includes(self, metric: str, method: str) -> bool:
        """Whether a score is selected."""
        return (not self.metrics or metric in self.metrics) and (
            not self.methods or method in self.methods
        )

    def mask(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows are selected, by the columns `metric` and `method`."""
        pairs = zip(frame["metric"], frame["method"], strict=True)
        return np.array([self.includes(*pair) for pair in pairs], dtype=bool)

    def check_known(self, frame: pd.DataFrame, where: str) -> None:
        """Raise unless `frame` has every selected metric and method.

        Raises:
            UnknownNameError: for the first name that `frame` lacks.
        """
        for kind, selected in (("metric", self.metrics), ("method", self.methods)):
            known = [str(name) for name in frame[kind].unique() if name]
            for name in selected:
                if name not in known:
                    raise UnknownNameError.of(f"{kind} in {where}", name, known)


ALL = Selection()
