"""Reuse models of another run with the same recipe, data and code, hence identical weights."""

from __future__ import annotations

from collections.abc import Iterable

from lico_bench.bench.plan import RunPlan
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
from lico_bench.store.cell_folder import TRAINING_FILES
from lico_bench.store.run_records import Manifest

SCORING_FIELDS = ("methods", "metrics", "protocols", "versions")


def reuse_models(plan: RunPlan, run: RunFolder, source: RunFolder, reporter: Reporter) -> None:
    """Copy the models of finished cells from `source` into `run` and report their number.

    Equal cell keys imply the same recipe, data, text encoder and code, but not the same methods,
    metrics or protocol; one training therefore serves any number of these. The scores are copied as
    well if methods, metrics, protocol, limit and software versions are the same. Cells of `run`
    that are trained or have a checkpoint stay unchanged; damaged cells of `source` are skipped.
    """
    num_copied = num_present = 0
    copies_scores = _has_same_scoring(run.manifest(), source.manifest())
    for cell in plan.cells:
        target_cell, source_cell = run.cell(cell.key), source.cell(cell.key)
        if target_cell.model.is_file() or target_cell.checkpoint.is_file():
            num_present += 1
            continue
        if not source_cell.is_done:
            continue
        if damages := check_cell(source_cell):
            reporter.note(f"{damages[0]}; {cell.title} is trained again")
            continue
        write_json(target_cell.recipe, cell.entry())
        _copy(source_cell, target_cell, TRAINING_FILES[:-1])
        target_cell.write_weights(source_cell.model.read_bytes())
        if copies_scores:
            _copy(source_cell, target_cell, (source_cell.table(n).name for n in SCORE_TABLES))
            seal_cell(run, cell.key, source_cell.record())
        num_copied += 1
    present = ""
    if num_present:
        present = f"; {num_present} {'was' if num_present == 1 else 'were'} here before"
    reporter.note(f"{num_copied} of {len(plan.cells)} models taken from {source.path}{present}")


def check_reusable(source: RunFolder) -> None:
    """Raise InvalidInputError for a published copy, which has no models."""
    if source.is_published:
        raise InvalidInputError(
            f"{source.path}: a published copy, whose weights were left out; "
            "name the run that it is a copy of"
        )


def _has_same_scoring(manifest: Manifest, source: Manifest) -> bool:
    """Whether scores of the source run can be reused.

    Only self-scored models qualify, since another network of the pair may differ.
    """
    scorers = {rules.get("scorer", "own") for rules in manifest.protocols.values()}
    is_same = all(getattr(manifest, name) == getattr(source, name) for name in SCORING_FIELDS)
    is_same_limit = manifest.suite.limit == source.suite.limit
    return is_same and scorers == {"own"} and is_same_limit


def _copy(source: CellFolder, target: CellFolder, names: Iterable[str]) -> None:
    for name in names:
        if (source.path / name).is_file():
            write_bytes(target.path / name, (source.path / name).read_bytes())
