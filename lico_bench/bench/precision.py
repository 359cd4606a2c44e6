"""Resolve the `auto` precision of a run; a started run keeps the precision it began with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from lico_bench.bench.plan import Plan
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.records import AUTO, PRECISIONS
from lico_bench.runtime import has_bfloat16, native_precision, pick_device
from lico_bench.store import RunFolder
from lico_bench.store.files import read_record
from lico_bench.store.run_records import CellEntry, CellRecipe

P = TypeVar("P", bound=Plan)


def resolve_run_precision(plan: P, folder: Path, device: str) -> tuple[P, tuple[str, ...]]:
    """Return the plan in the precision that its run began with, and notes for the user.

    All trainings of a run share the precision that `auto` was resolved to at its start, also if
    the run continues on another kind of machine.

    Raises:
        InvalidInputError: if the run began in a precision that `device` cannot compute.
    """
    native = native_precision(pick_device(device))
    notes = []
    stored = _stored_precision(plan, folder)
    if stored is not None and stored != plan.auto_precision:
        plan = plan.with_precision(stored)
        notes.append(
            f"this run began in {stored} and continues in it, although auto means {native.name} "
            "on this machine"
        )
    used = {cell.recipe.precision for cell in plan.cells}
    if "bfloat16" in used and native.name != "bfloat16":
        if not has_bfloat16(pick_device(device)):
            raise InvalidInputError(
                f"{folder}: its trainings use bfloat16, which device '{device}' cannot compute; "
                "continue with --device cpu, or start a new run with another --out"
            )
        notes.append(
            f"bfloat16 is slow here: {native.reason}, ten times slower than float32; for a new "
            "run use --precision float32"
        )
    return plan, tuple(notes)


def _stored_precision(plan: Plan, folder: Path) -> str | None:
    """Return the precision that `auto` was resolved to in `folder`; None if not stored."""
    if plan.auto_precision is None or not folder.is_dir():
        return None
    auto_recipes = {(r.dataset, r.arm, r.seed) for r in plan.requested if r.precision == AUTO}
    for recipe in _stored_recipes(RunFolder(folder)):
        if (recipe.dataset, recipe.arm, recipe.seed) in auto_recipes:
            return recipe.precision if recipe.precision in PRECISIONS[1:] else None
    return None


def _stored_recipes(run: RunFolder) -> list[CellRecipe]:
    """Return the recipes of the manifest; if it is missing or damaged, those in cell folders."""
    try:
        return [cell.recipe for cell in run.manifest().cells]
    except (MissingDataError, BrokenFileError):
        recipes = []
        for path in sorted(run.path.glob("cells/*/recipe.json")):
            with suppress(MissingDataError, BrokenFileError):
                recipes.append(read_record(CellEntry, path).recipe)
        return recipes
