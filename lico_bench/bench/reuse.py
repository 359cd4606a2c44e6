"""What another run has made already: of the same recipe, data and code, so the same bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.errors import InvalidInputError
from lico_bench.store import (
    SCORE_TABLES,
    CellFolder,
    RunFolder,
    check_cell,
    seal_cell,
    write_bytes,
    write_json,
)
from lico_bench.store.cell_folder import TRAINED

OF_QUESTION = ("methods", "metrics", "protocols", "versions")


def reuse_models(plan: Plan, run: RunFolder, other: RunFolder, reporter: Reporter) -> None:
    """Copy into `run` what finished cells of `other` have trained, and say how many there were.

    A cell has the same key there only if its recipe, its data, the text encoder and the code are
    the same; what is asked of the model is not part of it. So one training serves any number of
    protocols and methods; where the same is asked, by the same versions, the scores come along.
    Cells of `run` that are trained or under way are left alone, and a damaged cell of `other` is
    not used.
    """
    taken = present = 0
    has_scores = _asks_the_same(run.manifest(), other.manifest())
    for cell in plan.cells:
        ours, theirs = run.cell(cell.key), other.cell(cell.key)
        if ours.model.is_file() or ours.checkpoint.is_file():
            present += 1
            continue
        if not theirs.is_done:
            continue
        if damages := check_cell(theirs):
            reporter.note(f"{damages[0]}; {cell.title} is trained again")
            continue
        write_json(ours.recipe, cell.facts())
        _copy(theirs, ours, TRAINED[:-1])
        ours.write_weights(theirs.model.read_bytes())
        if has_scores:
            _copy(theirs, ours, (theirs.table(name).name for name in SCORE_TABLES))
            seal_cell(run, cell.key, theirs.facts())
        taken += 1
    here = f"; {present} {'was' if present == 1 else 'were'} here before" if present else ""
    reporter.note(f"{taken} of {len(plan.cells)} models taken from {other.path}{here}")


def check_reusable(other: RunFolder) -> None:
    """Raise InvalidInputError for a published copy, which has no models."""
    if other.is_published:
        raise InvalidInputError(
            f"{other.path}: a published copy, whose weights were left out; "
            "name the run that it is a copy of"
        )


def _asks_the_same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two manifests ask the same of a model; scored by itself, as a pair may differ."""
    rules = {facts.get("scorer", "own") for facts in ours["protocols"].values()}
    same = all(ours[name] == theirs.get(name) for name in OF_QUESTION)
    return same and rules == {"own"} and ours["suite"]["limit"] == theirs["suite"].get("limit")


def _copy(theirs: CellFolder, ours: CellFolder, names: Iterable[str]) -> None:
    for name in names:
        if (theirs.path / name).is_file():
            write_bytes(ours.path / name, (theirs.path / name).read_bytes())
