"""Several runs beside each other, in the order in which they were started.

A series is what stays the same from run to run: dataset, source, backbone, label budget, arm,
method, metric and protocol. Rows of another protocol are another series: they never share a line
of a plot, nor a column of a table, because every protocol has a table of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.report.content import SETTING, Block, ReportContent, gather
from lico_bench.store import RunFolder

RUN_SERIES = (*SETTING, "arm", "method", "metric", "protocol")
HISTORY_COLUMNS = (
    "run", "started", *RUN_SERIES, "mean", "low", "high", "interval_over", "num_images", "num_seeds",
    "num_skipped", "note",
)  # fmt: skip


@dataclass(frozen=True)
class PastRun:
    """One run and what it shows; `name` is unique among the runs that are shown together."""

    name: str
    content: ReportContent

    @property
    def started(self) -> str:
        """When, as its manifest says."""
        return str(self.content.manifest.get("started", ""))

    @property
    def version(self) -> str:
        """Of lico-bench."""
        return str(self.content.manifest.get("versions", {}).get("lico-bench", "unknown"))


@dataclass(frozen=True)
class History:
    """Runs in the order of their start, and their means.

    Attributes:
        means: columns `HISTORY_COLUMNS`, one row per run and series.
        notes: sentences about what differs between the runs besides the numbers.
    """

    runs: tuple[PastRun, ...]
    means: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def protocols(self) -> list[str]:
        """Every protocol that a number was made under; empty, for the models' own, first."""
        return sorted(self.means["protocol"].unique())

    @property
    def has_standins(self) -> bool:
        """Whether any number comes from drawn images."""
        return any(run.content.has_standins for run in self.runs)

    def shared(self) -> pd.DataFrame:
        """The rows of those series that two runs or more have."""
        counts = self.means.groupby(list(RUN_SERIES))["run"].transform("nunique")
        return self.means[counts > 1]

    def under(self, protocol: str) -> list[PastRun]:
        """The runs that have a number under a protocol."""
        names = set(self.means.loc[self.means["protocol"] == protocol, "run"])
        return [run for run in self.runs if run.name in names]

    def newest(self, setting: tuple[str, ...]) -> tuple[ReportContent, Block]:
        """The last run that has a dataset, source, backbone and label budget, and its block."""
        for run in reversed(self.runs):
            for block in run.content.blocks:
                if tuple(getattr(block, name) for name in SETTING) == setting:
                    return run.content, block
        raise KeyError(setting)


def gather_history(runs: Sequence[RunFolder]) -> History:
    """The means of several runs.

    Raises:
        InvalidInputError: for a run given twice.
        NotComparableError: if no two of the runs have a series in common.
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
    """By dataset, method, score and arm, each in the order in which it was first met, then run."""
    places = {name: pd.factorize(means[name])[0] for name in (*RUN_SERIES, "run")}
    order = [*SETTING, "method", "metric", "protocol", "arm", "run"]
    return means.loc[pd.DataFrame(places).sort_values(order, kind="stable").index]


def _check_different(runs: Sequence[RunFolder]) -> None:
    """Raise for a folder given twice, and for a copy: its rows would agree with themselves."""
    seen: dict[Any, Path] = {}
    for run in runs:
        manifest = run.manifest()
        if run.path.resolve() in seen:
            raise InvalidInputError(f"history: got the run {run.path} twice; name each run once")
        origin = (manifest.get("suite_key"), manifest.get("started"))
        if origin in seen:
            raise InvalidInputError(
                f"history: {run.path} is the same run as {seen[origin]}, started {origin[1]}; "
                "name one of them"
            )
        seen |= {run.path.resolve(): run.path, origin: run.path}


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of the folders above as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({one[-depth:] for one in parts}) < len(parts):
        depth += 1
    return ["/".join(one[-depth:]) for one in parts]


def _nothing_shared(history: History) -> str:
    for name in RUN_SERIES:
        found = {
            run.name: set(history.means.loc[history.means["run"] == run.name, name])
            for run in history.runs
        }
        if not set.intersection(*found.values()):
            message = "; ".join(
                f"{run}: {', '.join(sorted(map(str, values - {''})))}"
                for run, values in found.items()
            )
            return (
                f"history: expected runs with a series in common, but they have no {name} in "
                f"common ({message}); name runs of the same suite"
            )
    return (
        "history: expected runs with a series in common, but no two share one: the same dataset, "
        "backbone, labels, arm, method, metric and protocol; name runs of the same suite"
    )


def _notes(history: History) -> Iterator[str]:
    shared = history.shared()
    for run in history.runs:
        if run.name not in set(shared["run"]):
            yield f"Run {run.name} has no series in common with any other."
    yield from _data_notes(history)
    yield from _protocol_notes(history)
    yield from _recipe_notes(history)


def _data_notes(history: History) -> Iterator[str]:
    """Datasets of one name whose images were not the same."""
    prints: dict[tuple[str, str], dict[str, list[str]]] = {}
    for run in history.runs:
        for name, facts in run.content.manifest.get("datasets", {}).items():
            key = (name, str(facts.get("source")))
            found = prints.setdefault(key, {})
            found.setdefault(str(facts.get("fingerprint")), []).append(run.name)
    for (name, source), found in prints.items():
        if len(found) > 1:
            message = "; ".join(f"{mark}: {', '.join(runs)}" for mark, runs in found.items())
            yield (
                f"The images of {name} ({source}) are not the same in all runs (fingerprints: "
                f"{message}); a step between them may come from the images."
            )


def _protocol_notes(history: History) -> Iterator[str]:
    """Metrics that were measured by several rules."""
    several: dict[tuple[str, ...], set[str]] = {}
    for metric, protocols in history.means.groupby("metric")["protocol"].unique().items():
        if len(protocols) > 1:
            several.setdefault(tuple(sorted(protocols)), set()).add(str(metric))
    for found, metrics in several.items():
        yield (
            f"{', '.join(sorted(metrics))}: measured under {', '.join(found)}; other rules make "
            "another score, so each has its own table and its own lines."
        )


def _recipe_notes(history: History) -> Iterator[str]:
    """Recipe fields that one series was trained with in several ways."""
    values: dict[str, dict[str, list[str]]] = {}
    for run in history.runs:
        for name, message in _recipes(run).items():
            values.setdefault(name, {}).setdefault(message, []).append(run.name)
    for name, found in values.items():
        if len(found) > 1:
            message = "; ".join(f"{value} in {', '.join(runs)}" for value, runs in found.items())
            yield f"Trained differently: {name} is {message}."


def _recipes(run: PastRun) -> dict[str, str]:
    """Each field of the recipes that all models of a run agree on, and what an arm adds to it."""
    found: dict[str, set[str]] = {}
    for cell in run.content.manifest.get("cells", []):
        recipe = {k: v for k, v in cell["recipe"].items() if k not in ("arm", "seed", *SETTING)}
        options = {f"objective.{k}": v for k, v in (cell.get("options") or {}).items()}
        for name, value in {**recipe, **options}.items():
            found.setdefault(name, set()).add(str(value))
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}
