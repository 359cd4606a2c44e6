"""Recompute rows of a run from its stored weights and its data, and compare them.

A row depends on its batch in the last bits, so the same ranges of images are scored as in the run.
On the machine of the run, with the same number of threads, every deviation is 0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.bench.cell import EvalJob, RunContext
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.reporter import NoOpReporter
from lico_bench.bench.split_cache import SplitCache
from lico_bench.bench.suite import Suite
from lico_bench.bench.user_plan import USER_KIND
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.evaluation import EvalConfig, Part, evenly_spaced, score_in_parts
from lico_bench.metrics import resolve_metric
from lico_bench.saliency import resolve_method
from lico_bench.store import RunFolder
from lico_bench.store.codec import encode
from lico_bench.store.files import read_arrow
from lico_bench.store.row_tables import keep_rows
from lico_bench.store.run_records import SuiteRecord, refuse_trials

ROW_KEY = ("image_id", "method", "metric")
# Metrics of the classification pass, computed for every image.
CLASSIFIED = ("accuracy", "confidence", "brier")
ENDS = ("score_whole", "score_blurred", "score_emptied")  # ends of the curves of any method
# Scores are probabilities, areas and shares, at most of order 1. Another order of summation
# (threads, batch sizes) changes them by 1e-6, another device's kernels by 1e-4; a saliency rank
# that changes near a tie changes one step of a curve. Other weights or images change a score by
# tenths.
TOLERANCE = 1e-3

Progress = Callable[[int, int], None]
ReadPart = Callable[[str], pd.DataFrame]


@dataclass(frozen=True)
class Deviation:
    """Deviation of recomputed rows of one metric from the stored rows.

    Attributes:
        num_rows: number of recomputed rows.
        num_beyond: rows beyond the tolerance, or missing on one side only.
        largest: largest absolute deviation in the metric's unit; infinite for a missing value.
    """

    metric: str
    num_rows: int
    num_beyond: int
    largest: float


@dataclass(frozen=True)
class SampleResult:
    """Deviations by metric, and notes on cells that could not be recomputed."""

    deviations: tuple[Deviation, ...]
    notes: tuple[str, ...]

    @property
    def is_within(self) -> bool:
        """Whether all rows are within the tolerance."""
        return not any(deviation.num_beyond for deviation in self.deviations)


class _Cell(NamedTuple):
    """A finished cell that can be scored on this machine."""

    plan: Plan
    planned: PlannedCell
    splits: SplitCache


def recompute_sample(
    run: RunFolder,
    num_rows: int,
    *,
    root: Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> SampleResult:
    """Recompute `num_rows` rows of a run, spread over cells, methods and metrics.

    Args:
        root: folder of the datasets; None uses LICO_BENCH_DATA.
        seed: seed of the selection of rows.

    Raises:
        InvalidInputError: for a run of user models, which stores no models.
        MissingDataError: if no row can be recomputed here; the message lists the reasons.
    """
    notes: list[str] = []
    cells = list(_computable(run, root, notes))
    if not cells:
        raise MissingDataError(
            f"{run.path}: no row can be computed again here: "
            f"{'; '.join(notes) or 'the run stores none'}"
        )
    rng = random.Random(seed)
    counts = [len(range(number, num_rows, len(cells))) for number in range(len(cells))]
    pairs = []
    for number, (cell, count) in enumerate(zip(cells, counts, strict=True)):
        if count:
            pairs.append(_compare(run, cell, count, device, rng))
        if progress is not None:
            progress(number + 1, len(cells))
    return SampleResult(_deviations(pd.concat(pairs)), tuple(notes))


def _computable(run: RunFolder, root: Path | None, notes: list[str]) -> Iterator[_Cell]:
    """Yield the finished cells whose recipe, data and code are unchanged on this machine."""
    manifest = run.manifest()
    refuse_trials(manifest, run.path)
    if manifest.suite.kind == USER_KIND:
        raise InvalidInputError(
            f"{run.path} holds scores of user models, not the models; score them again with "
            "`lico-bench score --out ...` and compare the two runs with `lico-bench compare`"
        )
    finished = set(run.finished())
    for dataset in manifest.suite.datasets:
        keys = [c.key for c in manifest.cells if c.recipe.dataset == dataset]
        keys = [key for key in keys if key in finished]
        try:
            plan = make_plan(_suite(manifest.suite).only(dataset), root=root)
        except LicoBenchError as error:
            notes.append(f"{dataset}: {error}")
            continue
        planned = {cell.key: cell for cell in plan.cells}
        if set(keys) - set(planned):
            notes.append(
                f"{dataset}: its images, text encoder or code here are not those of the run"
            )
        if plan.eval_config.protocol.id not in manifest.protocols:
            notes.append(f"{dataset}: the protocol of the run has other rules here")
            continue
        splits = SplitCache(root)
        yield from (_Cell(plan, planned[key], splits) for key in keys if key in planned)


def _suite(record: SuiteRecord) -> Suite:
    """Build the suite from its manifest entry."""
    return Suite(
        datasets=record.datasets,
        arms=record.arms,
        seeds=record.seeds,
        profile=record.profile,
        methods=record.methods,
        metrics=record.metrics,
        protocol=record.protocol,
        data=record.data or "auto",
        limit=record.limit,
        changes=record.changes or {},
        objective=record.objective or {},
        scorer=record.scorer,
        of_dataset={name: encode(settings) for name, settings in record.of_dataset.items()},
        of_arm={name: encode(settings) for name, settings in record.of_arm.items()},
        as_published=record.as_published,
    )


def _compare(
    run: RunFolder, cell: _Cell, count: int, device: str, rng: random.Random
) -> pd.DataFrame:
    """Return `count` rows of a cell with columns `value` (stored) and `value_now` (recomputed)."""
    key, dataset = cell.planned.key, cell.splits.test(cell.planned)
    path = run.cell(key).table("rows")
    stored = read_arrow(path, (*ROW_KEY, "target", "value"))
    classes = (
        keep_rows(stored, {"metric": {"accuracy"}}).to_pandas().set_index("image_id")["target"]
    )
    read_part = partial(_stored_part, dataset, classes)
    images_of = _sample_parts(run, cell, dataset, read_part, device, rng)
    rows = [
        keep_rows(stored, {"image_id": set(images)}).to_pandas().assign(part=part)
        for part, images in images_of.items()
    ]
    sample = _sample_rows(pd.concat(rows), count, rng)
    recomputed = [
        part.scores.rows
        for part in _parts(
            run, cell, dataset, _eval_config_of(cell.plan.eval_config, sample), device,
            lambda name: None if name in set(sample["part"]) else read_part(name),
        )
    ]  # fmt: skip
    now = pd.concat(recomputed)[[*ROW_KEY, "value"]]
    return sample.merge(now, on=list(ROW_KEY), how="left", suffixes=("", "_now"))


def _sample_parts(
    run: RunFolder,
    cell: _Cell,
    dataset: Dataset,
    read_part: ReadPart,
    device: str,
    rng: random.Random,
) -> dict[str, list[str]]:
    """Draw one classification part and one scoring part; return their image ids by part name."""
    names: list[str] = []

    def record(name: str) -> pd.DataFrame:
        names.append(name)
        return read_part(name)

    # Every part is declared as stored, so that this lists the names and computes nothing.
    list(_parts(run, cell, dataset, cell.plan.eval_config, device, record))
    explained = evenly_spaced(len(dataset), cell.plan.eval_config.limit).tolist()
    images_of = {}
    for kind, indices in (("classified", range(len(dataset))), ("scored", explained)):
        name = rng.choice([name for name in names if name.startswith(kind)])
        start, stop = _range_of(name)
        images_of[name] = [dataset.image_ids[i] for i in indices[start:stop]]
    return images_of


def _parts(
    run: RunFolder, cell: _Cell, dataset: Dataset, eval_config: EvalConfig, device: str,
    stored: Callable[[str], pd.DataFrame | None],
) -> Iterator[Part]:  # fmt: skip
    context = RunContext(cell.plan, run, cell.splits, device, NoOpReporter())
    job = EvalJob.of(cell.planned, context)
    return score_in_parts(job.subject, dataset, eval_config, scorer=job.scorer, stored=stored)


def _stored_part(dataset: Dataset, classes: pd.Series[Any], name: str) -> pd.DataFrame:
    """Return the columns that scoring needs of a stored part: the target class of each image."""
    if not name.startswith("classified"):
        return pd.DataFrame()
    start, stop = _range_of(name)
    targets = classes.loc[list(dataset.image_ids[start:stop])]
    return pd.DataFrame({"metric": "accuracy", "target": targets.to_numpy()})


def _range_of(name: str) -> tuple[int, int]:
    _, start, stop = name.split("-")
    return int(start), int(stop)


def _sample_rows(rows: pd.DataFrame, count: int, rng: random.Random) -> pd.DataFrame:
    """Draw `count` rows, alternating between methods and metrics."""
    # Each part computes only the metrics of its own pass.
    is_classified = rows["metric"].isin(CLASSIFIED).to_numpy()
    rows = rows[is_classified == rows["part"].str.startswith("classified").to_numpy()]
    rows = rows.reset_index(drop=True)
    by_kind = rows.groupby(["method", "metric"])
    groups = [
        rng.sample(list(indices), k=min(count, len(indices)))
        for _, indices in sorted(by_kind.groups.items())
    ]
    rng.shuffle(groups)
    order = [group[turn] for turn in range(count) for group in groups if turn < len(group)]
    return rows.loc[order[:count]].reset_index(drop=True)


def _eval_config_of(eval_config: EvalConfig, sample: pd.DataFrame) -> EvalConfig:
    """Restrict `eval_config` to the methods and metrics of the sampled rows."""
    sampled_methods, sampled_metrics = set(sample["method"]), set(sample["metric"])
    methods = tuple(
        text for text in eval_config.methods if resolve_method(text)[0] in sampled_methods
    )
    metrics = tuple(
        text for text in eval_config.metrics if resolve_metric(text).spec.name in sampled_metrics
    )
    if not metrics or sampled_metrics & set(ENDS):
        metrics = eval_config.metrics
    return replace(eval_config, methods=methods or eval_config.methods[:1], metrics=metrics)


def _deviations(rows: pd.DataFrame) -> tuple[Deviation, ...]:
    deviations = []
    for metric, metric_rows in rows.groupby("metric"):
        pairs = zip(metric_rows["value"], metric_rows["value_now"], strict=True)
        differences = [_difference(before, now) for before, now in pairs]
        num_beyond = sum(difference > TOLERANCE for difference in differences)
        deviations.append(Deviation(str(metric), len(differences), num_beyond, max(differences)))
    return tuple(deviations)


def _difference(before: float, now: float) -> float:
    if math.isnan(before) and math.isnan(now):
        return 0.0  # undefined in both
    difference = abs(before - now)
    return math.inf if math.isnan(difference) else difference
