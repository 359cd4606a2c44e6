"""Models that another run has trained already: the same recipe, data and code, so the same bits."""

from __future__ import annotations

from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.store import CellFolder, RunFolder, check_cell, write_bytes, write_json
from lico_bench.store.cell_folder import TRAINED


def reuse_models(plan: Plan, run: RunFolder, other: RunFolder, reporter: Reporter) -> int:
    """Copy into `run` what finished cells of `other` have trained; how many there were.

    A cell has the same key there only if its recipe, its data, the text encoder and the code are
    the same; what is asked of the model is not part of it. So one training serves any number of
    protocols and methods. Cells of `run` that are trained or under way are left alone, and a
    damaged cell of `other` is not used.
    """
    count = 0
    for cell in plan.cells:
        ours, theirs = run.cell(cell.key), other.cell(cell.key)
        if ours.model.is_file() or ours.checkpoint.is_file() or not theirs.is_done:
            continue
        if damages := check_cell(theirs):
            reporter.note(f"{damages[0]}; {cell.title} is trained again")
            continue
        write_json(ours.recipe, cell.facts())
        _copy(theirs, ours)
        count += 1
    return count


def _copy(theirs: CellFolder, ours: CellFolder) -> None:
    for name in TRAINED[:-1]:
        if (theirs.path / name).is_file():
            write_bytes(ours.path / name, (theirs.path / name).read_bytes())
    ours.write_weights(theirs.model.read_bytes())
