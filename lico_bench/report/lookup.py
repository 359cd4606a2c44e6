"""Index of the rows of a block by score."""

from __future__ import annotations

from typing import Any

import pandas as pd

Row = dict[str, Any]


def rows_by_score(frame: pd.DataFrame) -> dict[tuple[str, str, str], Row]:
    """Return the rows of means or differences by arm, method and metric."""
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]  # columns are text
    return {(row["arm"], row["method"], row["metric"]): row for row in rows}
