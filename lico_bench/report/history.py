"""Comparison of several runs in the order of their start.

A series is identified by dataset, source, backbone, label budget, arm, method, metric and protocol.
Rows of different protocols belong to different series: they never share a line of a figure or a
table; each protocol has a separate table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.report.content import SETTING, Block, ReportContent
from lico_bench.report.gathering import gather
from lico_bench.store import RunFolder
from lico_bench.store.codec import encode

RUN_SERIES = (*SETTING, "arm", "method", "metric", "protocol")
HISTORY_COLUMNS = (
    "run", "started", *RUN_SERIES, "mean", "low", "high", "interval_over", "num_images",
    "num_seeds", "num_skipped", "note",
)  # fmt: skip


@dataclass(frozen=True)
class PastRun:
    """One run with its report content; `name` is unique within a history."""

    name: str
    content: ReportContent

    @property
    def started(self) -> str:
        """Start time from the manifest, empty if missing."""
        return self.content.manifest.started


@dataclass(frozen=True)
class History:
    """Runs in the order of their start, with their means.

    Attributes:
        means: columns `HISTORY_COLUMNS`, one row per run and series.
        notes: sentences about other differences between the runs, such as data and recipes.
    """

    runs: tuple[PastRun, ...]
    means: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def has_standins(self) -> bool:
        """Whether any number comes from a stand-in."""
        return any(run.content.has_standins for run in self.runs)

    def shared(self) -> pd.DataFrame:
        """Return the rows of series that occur in at least two runs."""
        counts = self.means.groupby(list(RUN_SERIES))["run"].transform("nunique")
        return self.means[counts > 1]

    def newest(self, setting: tuple[str, ...]) -> tuple[ReportContent, Block]:
        """Return content and block of the last run that has a setting."""
        for run in reversed(self.runs):
            for block in run.content.blocks:
                if block.setting == setting:
                    return run.content, block
        raise KeyError(setting)


def gather_history(runs: Sequence[RunFolder]) -> History:
    """Compute the means of several runs.

    Raises:
        InvalidInputError: if a run is given twice.
        NotComparableError: if no two runs have a series in common.
        MissingDataError, BrokenFileError: as `gather`.
    """
    _check_different(runs)
    names = _names([run.path for run in runs])
    past = [PastRun(name, gather(run)) for name, run in zip(names, runs, strict=True)]
    past.sort(key=lambda run: (run.started, run.name))
    means = _ordered(pd.concat([_means(run) for run in past], ignore_index=True))
    history = History(tuple(past), means, ())
    if history.shared().empty:
        raise NotComparableError(_nothing_shared(history))
    return History(history.runs, means, tuple(_notes(history)))


def _means(run: PastRun) -> pd.DataFrame:
    frame = pd.concat([block.means for block in run.content.blocks])
    return frame.assign(run=run.name, started=run.started)[list(HISTORY_COLUMNS)]


def _ordered(means: pd.DataFrame) -> pd.DataFrame:
    """Sort by setting, method, metric, protocol, arm and run, each in order of first occurrence."""
    ranks = {name: pd.factorize(means[name])[0] for name in (*RUN_SERIES, "run")}
    order = [*SETTING, "method", "metric", "protocol", "arm", "run"]
    return means.loc[pd.DataFrame(ranks).sort_values(order, kind="stable").index]


def _check_different(runs: Sequence[RunFolder]) -> None:
    """Raise if a run folder, or a copy of it, is given twice."""
    seen: dict[Any, Path] = {}
    for run in runs:
        manifest = run.manifest()
        if run.path.resolve() in seen:
            raise InvalidInputError(f"history: got the run {run.path} twice; give each run once")
        origin = (manifest.suite_key, manifest.started)
        if origin in seen:
            raise InvalidInputError(
                f"history: {run.path} is the same run as {seen[origin]}, started {origin[1]}; "
                "give only one of them"
            )
        seen |= {run.path.resolve(): run.path, origin: run.path}


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the folder names, with as many parent folders as make them unique."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({path_parts[-depth:] for path_parts in parts}) < len(parts):
        depth += 1
    return ["/".join(path_parts[-depth:]) for path_parts in parts]


def _nothing_shared(history: History) -> str:
    for name in RUN_SERIES:
        by_run = {
            run.name: set(history.means.loc[history.means["run"] == run.name, name])
            for run in history.runs
        }
        if not set.intersection(*by_run.values()):
            values_by_run = "; ".join(
                f"{run}: {', '.join(sorted(map(str, values - {''})))}"
                for run, values in by_run.items()
            )
            return (
                f"history: expected runs with a series in common, but they have no {name} in "
                f"common ({values_by_run}); give runs of the same suite"
            )
    return (
        "history: expected runs with a series in common, but no two share one: the same dataset, "
        "backbone, labels, arm, method, metric and protocol; give runs of the same suite"
    )


def _notes(history: History) -> Iterator[str]:
    shared = history.shared()
    for run in history.runs:
        if run.name not in set(shared["run"]):
            yield f"Run {run.name} has no series in common with any other."
    yield from _data_notes(history)
    yield from _protocol_notes(history)
    yield from _recipe_notes(history)


def _disagreements(
    history: History, facts_of: Callable[[PastRun], Mapping[str, str]]
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each fact that is not the same in all runs: its values with the names of their runs."""
    facts: dict[str, dict[str, list[str]]] = {}
    for run in history.runs:
        for name, value in facts_of(run).items():
            facts.setdefault(name, {}).setdefault(value, []).append(run.name)
    return ((name, values) for name, values in facts.items() if len(values) > 1)


def _data_notes(history: History) -> Iterator[str]:
    """Yield notes on datasets of the same name with different images."""
    for dataset, fingerprints in _disagreements(history, _fingerprints):
        listed = "; ".join(f"{value}: {', '.join(runs)}" for value, runs in fingerprints.items())
        yield (
            f"The images of {dataset} are not the same in all runs (fingerprints: {listed}); "
            "differences between the runs may come from the images."
        )


def _fingerprints(run: PastRun) -> dict[str, str]:
    datasets = run.content.manifest.datasets
    return {f"{name} ({facts.source})": facts.fingerprint for name, facts in datasets.items()}


def _protocol_notes(history: History) -> Iterator[str]:
    """Yield notes on metrics measured under several protocols."""
    metrics_by_protocols: dict[tuple[str, ...], set[str]] = {}
    for metric, protocols in history.means.groupby("metric")["protocol"].unique().items():
        if len(protocols) > 1:
            metrics_by_protocols.setdefault(tuple(sorted(protocols)), set()).add(str(metric))
    for names, metrics in metrics_by_protocols.items():
        yield (
            f"{', '.join(sorted(metrics))}: measured under {', '.join(names)}; scores of different "
            "protocols are not comparable, so each protocol has separate tables and lines."
        )


def _recipe_notes(history: History) -> Iterator[str]:
    """Yield notes on recipe fields that differ between runs."""
    for name, values in _disagreements(history, _shared_fields):
        listed = "; ".join(f"{value} in {', '.join(runs)}" for value, runs in values.items())
        yield f"Trained differently: {name} is {listed}."


def _shared_fields(run: PastRun) -> dict[str, str]:
    """Return the recipe fields and objective options that all cells of a run share."""
    fields: dict[str, set[str]] = {}
    for cell in run.content.manifest.cells:
        items = sorted(encode(cell.recipe).items())
        recipe = {k: v for k, v in items if k not in ("arm", "seed", *SETTING)}
        options = {f"objective.{k}": v for k, v in (cell.options or {}).items()}
        for name, value in {**recipe, **options}.items():
            fields.setdefault(name, set()).add(str(value))
    return {name: next(iter(values)) for name, values in fields.items() if len(values) == 1}
