"""Rows of a run computed once more from its stored weights and its data, and how far they differ.

A row depends on its batch in the last bits, so whole ranges of images are scored as the run did.
On the machine that made the run, with as many threads, every deviation is 0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.bench.cell import eval_job
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.split_cache import SplitCache
from lico_bench.bench.suite import Suite
from lico_bench.bench.user_suite import USER_KIND
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.evaluation import EvalConfig, Part, score_in_parts, spread
from lico_bench.metrics import resolve_metric
from lico_bench.saliency import resolve_method
from lico_bench.store import RunFolder
from lico_bench.store.files import read_arrow
from lico_bench.store.row_tables import keep_rows

ROW = ("image_id", "method", "metric")
BY_NAME = ("datasets", "arms", "methods", "metrics")
# Rules of the first pass, which every image goes through.
CLASSIFIED = ("accuracy", "confidence", "brier")
ENDS = ("score_whole", "score_blurred", "score_emptied")  # of the curves of any method
# Scores are probabilities, areas and shares, at most of order 1. Sums in another order (threads, a
# batch cut otherwise) move them by 1e-6, another device's kernels by 1e-4; a saliency rank that
# changes near a tie moves one step of a curve. A score from other weights or images is off by
# tenths.
TOLERANCE = 1e-3

Progress = Callable[[int, int], None]
Answer = Callable[[str], pd.DataFrame]


@dataclass(frozen=True)
class Deviation:
    """How far the rows of one metric differ from the stored ones.

    Attributes:
        num_rows: that were computed again.
        num_beyond: those further off than the tolerance, or missing on one side alone.
        largest: absolute, in the metric's unit; infinite where a value is missing.
    """

    metric: str
    num_rows: int
    num_beyond: int
    largest: float


@dataclass(frozen=True)
class Sampled:
    """Deviations by metric, and why some cells could not be computed again."""

    deviations: tuple[Deviation, ...]
    notes: tuple[str, ...]

    @property
    def is_within(self) -> bool:
        """Whether no row is further off than the tolerance."""
        return not any(deviation.num_beyond for deviation in self.deviations)


class _Cell(NamedTuple):
    """A finished cell that can be scored here."""

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
) -> Sampled:
    """Compute `num_rows` rows of a run again, spread over cells, methods and metrics.

    Args:
        root: folder that holds the datasets; LICO_BENCH_DATA if None.
        seed: of the choice of rows.

    Raises:
        InvalidInputError: for a run of own models, which holds none.
        MissingDataError: if not one row can be computed here, and why.
    """
    notes: list[str] = []
    cells = list(_computable(run, root, notes))
    if not cells:
        raise MissingDataError(
            f"{run.path}: no row can be computed again here: {'; '.join(notes) or 'none is stored'}"
        )
    rng = random.Random(seed)
    counts = [len(range(number, num_rows, len(cells))) for number in range(len(cells))]
    pairs = []
    for number, (cell, count) in enumerate(zip(cells, counts, strict=True)):
        if count:
            pairs.append(_compare(run, cell, count, device, rng))
        if progress is not None:
            progress(number + 1, len(cells))
    return Sampled(_deviations(pd.concat(pairs)), tuple(notes))


def _computable(run: RunFolder, root: Path | None, notes: list[str]) -> Iterator[_Cell]:
    """The finished cells whose recipe, data and code are here as they were."""
    manifest = run.manifest()
    facts = manifest["suite"]
    if facts.get("kind") == USER_KIND:
        raise InvalidInputError(
            f"{run.path} holds the scores of own models, not the models; score them again with "
            "`lico-bench score --out ...` and hold the two runs together with `lico-bench compare`"
        )
    finished = set(run.finished())
    for dataset in facts["datasets"]:
        wanted = [c["key"] for c in manifest["cells"] if c["recipe"]["dataset"] == dataset]
        wanted = [key for key in wanted if key in finished]
        try:
            plan = make_plan(_suite(facts).only(dataset), root=root)
        except LicoBenchError as error:
            notes.append(f"{dataset}: {error}")
            continue
        planned = {cell.key: cell for cell in plan.cells}
        if set(wanted) - set(planned):
            notes.append(
                f"{dataset}: its images, text encoder or code here are not those of the run"
            )
        if plan.protocol.id not in manifest["protocols"]:
            notes.append(f"{dataset}: the protocol of the run has other rules here")
            continue
        splits = SplitCache(root)
        yield from (_Cell(plan, planned[key], splits) for key in wanted if key in planned)


def _suite(facts: dict[str, Any]) -> Suite:
    """The suite that a manifest describes."""
    known: dict[str, Any] = {
        field.name: facts[field.name] for field in fields(Suite) if field.name in facts
    }
    return Suite(**known | {name: tuple(known[name]) for name in BY_NAME})


def _compare(
    run: RunFolder, cell: _Cell, count: int, device: str, rng: random.Random
) -> pd.DataFrame:
    """`count` rows of a cell with the stored value and the one computed now."""
    key, dataset = cell.planned.key, cell.splits.test(cell.planned)
    path = run.cell(key).table("rows")
    stored = read_arrow(path, (*ROW, "target", "value"))
    classes = (
        keep_rows(stored, {"metric": {"accuracy"}}).to_pandas().set_index("image_id")["target"]
    )
    answer = partial(_stored_part, dataset, classes)
    chosen = _choose_parts(run, cell, dataset, answer, device, rng)
    rows = [
        keep_rows(stored, {"image_id": set(images)}).to_pandas().assign(part=part)
        for part, images in chosen.items()
    ]
    picked = _pick(pd.concat(rows), count, rng)
    made = [
        part.scores.rows
        for part in _parts(
            run, cell, dataset, _eval_config_of(cell.plan.eval_config, picked), device,
            lambda name: None if name in set(picked["part"]) else answer(name),
        )
    ]  # fmt: skip
    now = pd.concat(made)[[*ROW, "value"]]
    return picked.merge(now, on=list(ROW), how="left", suffixes=("", "_now"))


def _choose_parts(
    run: RunFolder, cell: _Cell, dataset: Dataset, answer: Answer, device: str, rng: random.Random
) -> dict[str, list[str]]:
    """One part that classifies and one that scores, with the ids of their images."""
    names: list[str] = []

    def note(name: str) -> pd.DataFrame:
        names.append(name)
        return answer(name)

    # All is said to be stored, so that the parts are named and none is made.
    list(_parts(run, cell, dataset, cell.plan.eval_config, device, note))
    explained = spread(len(dataset), cell.plan.eval_config.limit).tolist()
    chosen = {}
    for kind, places in (("classified", range(len(dataset))), ("scored", explained)):
        name = rng.choice([name for name in names if name.startswith(kind)])
        start, stop = _range_of(name)
        chosen[name] = [dataset.image_ids[i] for i in places[start:stop]]
    return chosen


def _parts(
    run: RunFolder, cell: _Cell, dataset: Dataset, eval_config: EvalConfig, device: str,
    stored: Callable[[str], pd.DataFrame | None],
) -> Iterator[Part]:  # fmt: skip
    requested = eval_job(cell.planned, cell.plan, run, cell.splits, device)
    return score_in_parts(
        requested.subject, dataset, eval_config, scorer=requested.scorer, stored=stored
    )


def _stored_part(dataset: Dataset, classes: pd.Series[Any], name: str) -> pd.DataFrame:
    """What a scoring asks of a part that is stored: the class of each image."""
    if not name.startswith("classified"):
        return pd.DataFrame()
    start, stop = _range_of(name)
    targets = classes.loc[list(dataset.image_ids[start:stop])]
    return pd.DataFrame({"metric": "accuracy", "target": targets.to_numpy()})


def _range_of(name: str) -> tuple[int, int]:
    _, start, stop = name.split("-")
    return int(start), int(stop)


def _pick(rows: pd.DataFrame, count: int, rng: random.Random) -> pd.DataFrame:
    """Rows of as many methods and metrics as there are, in turn; of a part, those it makes."""
    is_first = rows["metric"].isin(CLASSIFIED).to_numpy()
    rows = rows[is_first == rows["part"].str.startswith("classified").to_numpy()]
    rows = rows.reset_index(drop=True)
    kinds = rows.groupby(["method", "metric"])
    groups = [
        rng.sample(list(found), k=min(count, len(found)))
        for _, found in sorted(kinds.groups.items())
    ]
    rng.shuffle(groups)
    turns = [group[turn] for turn in range(count) for group in groups if turn < len(group)]
    return rows.loc[turns[:count]].reset_index(drop=True)


def _eval_config_of(eval_config: EvalConfig, picked: pd.DataFrame) -> EvalConfig:
    """Of what was asked, as much as the rows picked need."""
    methods, metrics = set(picked["method"]), set(picked["metric"])
    requested = tuple(text for text in eval_config.methods if resolve_method(text)[0] in methods)
    scores = tuple(
        text for text in eval_config.metrics if resolve_metric(text).spec.name in metrics
    )
    if not scores or metrics & set(ENDS):
        scores = eval_config.metrics
    return replace(eval_config, methods=requested or eval_config.methods[:1], metrics=scores)


def _deviations(rows: pd.DataFrame) -> tuple[Deviation, ...]:
    found = []
    for metric, of_metric in rows.groupby("metric"):
        pairs = zip(of_metric["value"], of_metric["value_now"], strict=True)
        apart = [_apart(before, now) for before, now in pairs]
        beyond = sum(one > TOLERANCE for one in apart)
        found.append(Deviation(str(metric), len(apart), beyond, max(apart)))
    return tuple(found)


def _apart(before: float, now: float) -> float:
    if math.isnan(before) and math.isnan(now):
        return 0.0  # not defined, then as now
    gap = abs(before - now)
    return math.inf if math.isnan(gap) else gap
