"""One side of a comparison: rows of scores, their metrics and methods, and a selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lico_bench.errors import InvalidInputError, NotComparableError, UnknownNameError
from lico_bench.records import MetricSpec
from lico_bench.stats import MODEL_SCORES, as_frame
from lico_bench.store import RunFolder, read_run
from lico_bench.store.files import split_side
from lico_bench.store.run_records import Manifest, SuiteRecord, refuse_trials

# By metric name; a mapping needs `higher_is_better`, may have `title`, `unit`, `bounds`.
MetricFacts = Mapping[str, MetricSpec | Mapping[str, Any]]


@dataclass(frozen=True)
class Selection:
    """Names of metrics and methods to judge; an empty sequence selects all."""

    metrics: Sequence[str] = ()
    methods: Sequence[str] = ()

    def mask(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows are selected, by the columns `metric` and `method`."""
        is_metric = frame["metric"].isin(self.metrics) | (not self.metrics)
        return is_metric & (frame["method"].isin(self.methods) | (not self.methods))

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


@dataclass(frozen=True)
class Side:
    """Scores with the facts of their metrics, methods and images: one side of a comparison.

    Attributes:
        name: name in messages, such as the folder.
        rows: columns `records.ROW_COLUMNS`.
        metrics: by name.
        controls: methods that do not depend on the model.
        image_fingerprints: fingerprint of each dataset; empty without a manifest.
        arm: the arm to compare; None for all arms.
    """

    name: str
    rows: pd.DataFrame
    metrics: Mapping[str, MetricSpec]
    controls: frozenset[str] = frozenset()
    image_fingerprints: Mapping[str, str] = field(default_factory=dict)
    arm: str | None = None

    @classmethod
    def of(
        cls,
        scores: Any,
        *,
        name: str = "the run",
        arm: str | None = None,
        metrics: MetricFacts | None = None,
    ) -> Side:
        """Return the side of `scores`: a run folder, rows, or anything with `to_frame()`.

        Args:
            metrics: replaces the metrics of the manifest.

        Raises:
            UnknownNameError: for an arm that the rows lack.
            InvalidInputError: if `scores` has invalid rows.
        """
        manifest = Manifest(suite_key="", suite=SuiteRecord(), cells=())
        if hasattr(scores, "manifest"):
            manifest = scores.manifest()
            refuse_trials(manifest, name)
        given = {metric: _spec(metric, facts) for metric, facts in (metrics or {}).items()}
        side = cls(
            name=name,
            rows=as_frame(scores),
            metrics={**MODEL_SCORES, **(given or manifest.metrics)},
            controls=frozenset(
                method for method in manifest.methods if manifest.is_control(method)
            ),
            image_fingerprints={
                dataset: facts.fingerprint for dataset, facts in manifest.datasets.items()
            },
            arm=arm,
        )
        if arm is not None and arm not in side.arms:
            raise UnknownNameError.of(f"arm in {name}", arm, side.arms)
        return side

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in order of first appearance."""
        return tuple(str(arm) for arm in self.rows["arm"].unique())

    def direction(self, metric: str) -> bool | None:
        """Whether higher is better; None for a descriptive metric.

        Raises:
            InvalidInputError: for an unknown metric.
        """
        if metric not in self.metrics:
            raise InvalidInputError(
                f"metrics: expected a direction for each metric, got none for {metric}; "
                "pass metrics={name: {'higher_is_better': ...}} or a run folder"
            )
        return self.metrics[metric].higher_is_better

    def is_judged(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows are judged: not those of descriptive metrics and control methods."""
        descriptive = [name for name, spec in self.metrics.items() if spec.higher_is_better is None]
        return ~frame["metric"].isin(descriptive) & ~frame["method"].isin(self.controls)

    def spec(self, metric: str) -> MetricSpec:
        """Return the description of a metric; of an unknown one, empty and without bounds."""
        return self.metrics.get(metric) or _spec(metric, {})


def _spec(name: str, facts: MetricSpec | Mapping[str, Any]) -> MetricSpec:
    """Return the spec of a metric that a caller describes by some facts."""
    if isinstance(facts, MetricSpec):
        return facts
    return MetricSpec(
        name=name,
        title=str(facts.get("title", "")),
        higher_is_better=facts.get("higher_is_better"),
        bounds=facts.get("bounds") or (None, None),
        unit=str(facts.get("unit", "")),
        source="",
    )


def read_side(text: str) -> Side:
    """Read the side that `RUN` or `RUN:ARM` names.

    Raises:
        MissingDataError: if the run does not exist.
        UnknownNameError: for an arm that the run lacks.
    """
    folder, arm = split_side(text)
    return Side.of(read_run(folder), name=text, arm=arm)


@dataclass(frozen=True)
class Trainings:
    """Several runs of the same models, joined as further trainings (seeds) of one run.

    `lico-bench score` stores seed 0 for every model. Five runs of five trainings are five seeds
    here, numbered consecutively, so the spread between trainings is known.
    """

    runs: tuple[RunFolder, ...]

    def manifest(self) -> Manifest:
        """Return the manifest of the first run, with the metrics and methods of all runs."""
        manifests = [run.manifest() for run in self.runs]
        return replace(
            manifests[0],
            metrics={name: spec for m in manifests for name, spec in m.metrics.items()},
            methods={name: method for m in manifests for name, method in m.methods.items()},
        )

    def rows(self) -> pd.DataFrame:
        """Return the rows of all runs with renumbered seeds."""
        return _renumber_seeds([run.rows() for run in self.runs])

    def curves(self) -> pd.DataFrame:
        """Return the curves of all runs with renumbered seeds."""
        return _renumber_seeds([run.curves() for run in self.runs])


def _renumber_seeds(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables; the seeds of each follow those of the previous one."""
    start, renumbered = 0, []
    for frame in frames:
        seeds = frame["seed"].rank(method="dense").astype(int) - 1
        renumbered.append(frame.assign(seed=start + seeds))
        start += int(seeds.max()) + 1
    return pd.concat(renumbered, ignore_index=True)


def join_trainings(runs: Sequence[RunFolder]) -> RunFolder | Trainings:
    """Return a single run unchanged, or several runs joined.

    Raises:
        InvalidInputError: if a run is given twice.
        NotComparableError: if two runs used different images of a dataset.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InvalidInputError(
            "runs: expected each run once, got one twice; pass each training once"
        )
    first_seen: dict[str, tuple[str, RunFolder]] = {}
    for run in runs:
        for dataset, facts in run.manifest().datasets.items():
            fingerprint = facts.fingerprint
            expected, first = first_seen.setdefault(dataset, (fingerprint, run))
            if expected != fingerprint:
                raise NotComparableError(
                    f"{dataset}: {first.path} and {run.path} used different images "
                    f"({expected[:8]}, {fingerprint[:8]}); score every training on the same images"
                )
    return runs[0] if len(runs) == 1 else Trainings(tuple(runs))
