"""The precision of a run: what `auto` becomes here, and what a run folder has begun with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lico_bench.bench.plan import Plan
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.records import AUTO, PRECISIONS
from lico_bench.runtime import has_bfloat16, native_precision, pick_device
from lico_bench.store import RunFolder
from lico_bench.store.files import read_json


def resolve_run_precision(plan: Plan, folder: Path, device: str) -> tuple[Plan, tuple[str, ...]]:
    """The plan in the precision that its run folder has begun with, and what a user must know.

    All trainings of a run share what `auto` was resolved to at its start, also where it goes on on
    another kind of machine.

    Raises:
        InvalidInputError: if the run began in a precision that `device` cannot compute.
    """
    native = native_precision(pick_device(device))
    notes = []
    begun = _begun_precision(plan, folder)
    if begun is not None and begun != plan.auto_precision:
        plan = plan.with_precision(begun)
        notes.append(
            f"this run began in {begun} and goes on in it, although auto means {native.name} here"
        )
    used = {cell.recipe.precision for cell in plan.cells}
    if "bfloat16" in used and native.name != "bfloat16":
        if not has_bfloat16(pick_device(device)):
            raise InvalidInputError(
                f"{folder}: its trainings are in bfloat16, which device '{device}' cannot compute; "
                "go on with --device cpu, or start a new run with another --out"
            )
        notes.append(
            f"bfloat16 is slow here: {native.reason}, ten times slower than float32; for a new "
            "run take --precision float32"
        )
    return plan, tuple(notes)


def _begun_precision(plan: Plan, folder: Path) -> str | None:
    """What `auto` was resolved to when the run in `folder` began; None where nothing says so."""
    if plan.auto_precision is None or not folder.is_dir():
        return None
    left_open = {(r.dataset, r.arm, r.seed) for r in plan.requested if r.precision == AUTO}
    for recipe in _stored_recipes(RunFolder(folder)):
        if (recipe.get("dataset"), recipe.get("arm"), recipe.get("seed")) in left_open:
            begun = recipe.get("precision")
            return begun if begun in PRECISIONS[1:] else None
    return None


def _stored_recipes(run: RunFolder) -> list[dict[str, Any]]:
    """Recipes of the manifest; where that is lost or damaged, those that lie beside the models."""
    try:
        return [cell["recipe"] for cell in run.manifest()["cells"]]
    except (MissingDataError, BrokenFileError):
        found = []
        for path in sorted(run.path.glob("cells/*/recipe.json")):
            try:
                facts = read_json(path)
            except (MissingDataError, BrokenFileError):
                continue
            if isinstance(facts, dict) and isinstance(facts.get("recipe"), dict):
                found.append(facts["recipe"])
        return found
