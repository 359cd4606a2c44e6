"""Access to the results of the published study, for the tables of `study_tables.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.metrics import METRICS
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.stats import MODEL_SCORES, paired_differences
from lico_bench.store import RunFolder

PRIMARY, PRIMARY_MAP, MAIN = "cifar10", "grad_cam", "overall"
FLAT = "degenerate_map"
ENDS = ("difference", "low", "high")
SPECS: dict[str, MetricSpec] = {**{n: METRICS[n].spec for n in METRICS.names()}, **MODEL_SCORES}


class Study:
    """Results of the published study, formatted for tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tables = folder / "report" / "tables"
        self._differences = _read(tables / "differences.csv")
        self._means = _read(tables / "means.csv")
        verdicts = json.loads((folder / "report" / "verdicts.json").read_text(encoding="utf-8"))
        self.claims: list[dict[str, Any]] = verdicts["claims"]
        before = json.loads((folder / "verdicts_rules_1.json").read_text(encoding="utf-8"))
        self.verdicts_before = {claim["id"]: str(claim["outcome"]) for claim in before["claims"]}
        self.manifest = RunFolder(folder).manifest()
        self.datasets: list[str] = list(self.manifest.suite.datasets)

    def mean(self, dataset: str, arm: str, metric: str, method: str = "") -> str:
        """Return an arm's mean, or a dash."""
        found = pick(self._means, dataset=dataset, arm=arm, metric=metric, method=method)
        if found is None:
            return formatting.NO_VALUE
        return formatting.value(found["mean"], SPECS[metric])

    def difference_row(self, dataset: str, arm: str, metric: str, method: str = "") -> Any:
        """Return the report's row of an arm's difference to the baseline, or None."""
        return pick(
            self._differences,
            dataset=dataset, arm=arm, metric=metric, method=method, subset="all",
        )  # fmt: skip

    def difference(self, dataset: str, arm: str, metric: str, method: str = "") -> str:
        """Return an arm's difference to the baseline with interval and effect, or a dash."""
        found = self.difference_row(dataset, arm, metric, method)
        return formatting.NO_VALUE if found is None else message(found, SPECS[metric])

    def flat_share(self, dataset: str, arm: str) -> str:
        """Return the share of an arm's Grad-CAM maps that are constant."""
        rows = self.rows
        is_selected = (rows["dataset"] == dataset) & (rows["arm"] == arm) & (rows["metric"] == MAIN)
        flags = rows.loc[is_selected & (rows["method"] == PRIMARY_MAP), "flag"]
        return f"{100 * (flags == FLAT).mean():.1f} %"

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All scores."""
        return RunFolder(self.folder).rows()

    def arms(self, dataset: str) -> list[str]:
        """Return the arms trained on a dataset, without the baseline."""
        found = set(self._differences.loc[self._differences["dataset"] == dataset, "arm"])
        return [arm for arm in self.manifest.suite.arms if arm in found]

    def between(self, arm: str, reference: str, metrics: Iterable[tuple[str, str]]) -> pd.DataFrame:
        """Return the paired differences of two arms, computed from the rows."""
        return between(self.rows, arm, reference, metrics)


def message(row: Any, spec: MetricSpec) -> str:
    """Format a difference of the report with interval and effect after correction."""
    word = formatting.effect(float(row["low"]), float(row["high"]), spec, float(row["q_value"]))
    return f"{ends(row, spec)} {word}"


def ends(row: Any, spec: MetricSpec) -> str:
    """Format a difference with interval but without effect, as it has no corrected p-value."""
    if row is None:
        return formatting.NO_VALUE
    return " ".join(formatting.difference(*(float(row[name]) for name in ENDS), spec))


def between(
    rows: pd.DataFrame,
    arm: str,
    reference: str,
    wanted: Iterable[tuple[str, str]],
    dataset: str | None = None,
) -> pd.DataFrame:
    """Return the paired differences of two arms for the wanted (metric, method)."""
    is_selected = pd.Series(False, index=rows.index)
    for metric, method in wanted:
        is_selected |= (rows["metric"] == metric) & (rows["method"] == method)
    rows = rows[is_selected & rows["arm"].isin([arm, reference])]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    return paired_differences(rows, reference_arm=reference)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values={"q_value": [""]})


def pick(frame: pd.DataFrame, **wanted: str) -> Any:
    """Return the single row with these values, or None."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    if len(frame) > 1:
        raise ValueError(f"{wanted}: {len(frame)} rows, expected one")
    return None if frame.empty else frame.iloc[0]
