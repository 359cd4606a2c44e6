"""What is damaged in a run folder, and how it gets out of the way so that it is made again.

Nothing is deleted: damaged files go to RUN/damaged/<cell>/. What remains of the cell is whole, and
the next run makes the rest from it: scores from weights, weights from a checkpoint or the recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lico_bench.errors import BrokenFileError, InvalidInputError
from lico_bench.store.cell_folder import PART_FILE, SCORE_TABLES, TRAINED, CellFolder
from lico_bench.store.digests import (
    file_digest,
    file_facts,
    has_valid_stamp,
    read_sidecar,
    sealed,
    sidecar_of,
)
from lico_bench.store.files import json_bytes, read_parquet, write_json
from lico_bench.store.quarantine import quarantine, quarantine_path
from lico_bench.store.run_folder import RunFolder

CHANGED = "not what was written (its SHA-256 differs)"
MISSING = "missing"
FOREIGN = "none of this cell's files"
STRANGE = "none of this run's cells"
_MOST_ROUNDS = 5  # of checking and setting aside: finished, unfinished, what rested on that
# Of an unfinished cell; a process that was killed at the last moment leaves them in a finished one.
UNFINISHED = (
    "parts", "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.pt.sha256", "failed.json",
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """A file of a run folder and what is wrong with it."""

    file: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def seal_cell(run: RunFolder, key: str, facts: Mapping[str, Any]) -> None:
    """Write `done.json` of a cell: `facts`, and size and SHA-256 of each of its files.

    Facts may be those of another run's cell: its seal, files and suite give way to these.

    Raises:
        BrokenFileError: if what the training left was damaged since.
    """
    cell = run.cell(key)
    files = {path.name: file_facts(path) for path in _results(cell)}
    for name, digests in _trained(cell).items():
        if name not in files or files[name]["sha256"] not in digests:
            raise BrokenFileError(
                f"{cell.path / name}: damaged while its cell was scored; repeat the same command, "
                "which sets it aside and makes it anew"
            )
    suite = run.manifest().get("suite_key")
    write_json(cell.done, sealed({**facts, "key": key, "suite_key": suite, "files": files}))
    clear_unfinished(cell)


def clear_unfinished(cell: CellFolder) -> None:
    """Remove from a finished cell what only an unfinished one needs."""
    cell.drop_parts()
    cell.drop_checkpoints()
    cell.failure.unlink(missing_ok=True)


def check_cell(cell: CellFolder, *, hashes: bool = True) -> tuple[Damage, ...]:
    """What is wrong with the files of a cell, finished or not; nothing is changed.

    Cells that were stored before checksums were can only lack files.

    Args:
        hashes: read every file of a finished cell; else only sizes are compared.
    """
    if not cell.path.is_dir():
        return ()
    found = _check_finished(cell, hashes) if cell.is_done else _check_unfinished(cell)
    return tuple(found)


def quarantined(run: RunFolder, damage: Damage) -> Path:
    """Move a damaged file of a cell to RUN/damaged, with all that rests on it.

    A finished cell is then an unfinished one: with damaged scores it is scored again from its
    weights, with a damaged product of the training it is trained again. A damaged checkpoint gives
    way to the one before, a damaged part is made alone.

    Returns:
        Where the file is now, or would be if it was there.
    """
    cells = run.path / "cells"
    if cells not in damage.file.parents:
        raise InvalidInputError(f"{damage.file}: expected a file of a cell of {run.path}")
    key = damage.file.relative_to(cells).parts[0]
    cell = run.cell(key)
    if damage.file == cell.recipe and (written_again := _write_recipe(run, cell)):
        return written_again
    if (
        damage.problem not in (FOREIGN, STRANGE)
        and not _in_parts(cell, damage.file)
        and cell.is_done
    ):
        quarantine(run.path, cell.done)
    places = {path: quarantine(run.path, path) for path in _resting_on(cell, damage)}
    if damage.file == cell.checkpoint and cell.previous_checkpoint.is_file():
        cell.previous_checkpoint.replace(cell.checkpoint)
    return places.get(damage.file) or quarantine_path(run.path, damage.file)


def repair_cell(run: RunFolder, key: str, *, hashes: bool = True) -> tuple[Damage, ...]:
    """Check a cell and set aside what is damaged; what was found. Needs the run's lock."""
    cell = run.cell(key)
    found: list[Damage] = []
    # A cell that is no longer finished is checked as an unfinished one, and so on.
    for _ in range(_MOST_ROUNDS):
        damages = check_cell(cell, hashes=hashes)
        if not damages:
            break
        for damage in damages:
            quarantined(run, damage)
        found += [damage for damage in damages if damage not in found]
    else:
        raise BrokenFileError(f"{damages[0]}, and it comes back; move that file away by hand")
    if cell.is_done:
        clear_unfinished(cell)
    return tuple(found)


def _write_recipe(run: RunFolder, cell: CellFolder) -> Path | None:
    """Put the manifest's copy in the place of a damaged recipe; None if it cannot take it."""
    if not cell.is_done:
        return None
    message = [entry for entry in run.manifest()["cells"] if entry["key"] == cell.path.name]
    fact = cell.facts().get("files", {}).get(cell.recipe.name, {})
    if not message or hashlib.sha256(json_bytes(message[0])).hexdigest() != fact.get("sha256"):
        return None
    place = quarantine(run.path, cell.recipe)
    write_json(cell.recipe, message[0])
    return place


def _check_finished(cell: CellFolder, hashes: bool) -> Iterator[Damage]:
    try:
        facts = cell.facts()
    except BrokenFileError:
        yield Damage(cell.done, "not what was written")
        return
    if facts.get("key", cell.path.name) != cell.path.name:
        yield Damage(cell.done, f"of another cell, {facts['key']}")
        return
    if "files" not in facts:
        old = [cell.table(name) for name in (*SCORE_TABLES, "history")]
        yield from (Damage(path, MISSING) for path in old if not path.is_file())
        return
    files = facts["files"]
    for name, fact in files.items():
        problem = _problem(cell.path / name, fact, hashes)
        if problem:
            yield Damage(cell.path / name, problem)
    known = {*files, cell.done.name, *UNFINISHED}
    yield from (Damage(path, FOREIGN) for path in _entries(cell.path) if path.name not in known)


def _problem(path: Path, fact: Mapping[str, Any], hashes: bool) -> str:
    if not path.is_file():
        return MISSING
    size = path.stat().st_size
    if size != fact["bytes"]:
        return f"{size:,} bytes instead of {fact['bytes']:,}"
    return CHANGED if hashes and file_digest(path) != fact["sha256"] else ""


def _check_unfinished(cell: CellFolder) -> Iterator[Damage]:
    if cell.model.is_file() or cell.parts.is_dir():
        for name, digests in _trained(cell).items():
            path = cell.path / name
            if name not in TRAINED:
                yield Damage(sidecar_of(cell.model), "not what was written")
            elif not path.is_file():
                yield Damage(path, MISSING)
            elif file_digest(path) not in digests:
                yield Damage(path, CHANGED)
    for path in (cell.checkpoint, cell.previous_checkpoint):
        known = _known(cell.checkpoint).get(cell.checkpoint.name)
        if known is not None and path.is_file() and file_digest(path) not in known:
            yield Damage(path, CHANGED)
    for path in _entries(cell.parts) if cell.parts.is_dir() else ():
        if problem := _part_problem(cell, path):
            yield Damage(path, problem)


def _part_problem(cell: CellFolder, path: Path) -> str:
    if not PART_FILE.fullmatch(path.name):
        return FOREIGN
    try:
        if not has_valid_stamp(path):
            return CHANGED
        keys = set(read_parquet(path, ("cell",))["cell"])
    except (ValueError, OSError):  # not a whole file; of other columns
        return "not a whole part"
    return "" if keys <= {cell.path.name} else "of another cell"


def _resting_on(cell: CellFolder, damage: Damage) -> list[Path]:
    """The damaged file and those that cannot stay without it."""
    path = damage.file
    if damage.problem in (FOREIGN, STRANGE):
        return [path]
    if _in_parts(cell, path):
        found = PART_FILE.fullmatch(path.name)
        return sorted(cell.parts.glob(f"{found['part']}.*")) if found else [path]
    sidecar = sidecar_of(cell.model)
    if path == sidecar or path.name in TRAINED:
        # The next training may end with other weights, which these parts would not be scores of.
        return [*(cell.path / name for name in TRAINED), sidecar, cell.parts]
    return [path]


def _in_parts(cell: CellFolder, path: Path) -> bool:
    return path.parent == cell.parts


def _known(path: Path) -> dict[str, list[str]]:
    sidecar = sidecar_of(path)
    return read_sidecar(sidecar) if sidecar.is_file() else {}


def _trained(cell: CellFolder) -> dict[str, list[str]]:
    """Checksums of what the training left, by name; none for a cell of before."""
    return _known(cell.model)


def _results(cell: CellFolder) -> list[Path]:
    left_out = (cell.done.name, *UNFINISHED)
    return [path for path in _entries(cell.path) if path.is_file() and path.name not in left_out]


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; hidden names belong to file systems and desktops."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
