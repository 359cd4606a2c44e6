"""Detection and quarantine of damaged files in a run folder.

Damaged files are moved to RUN/damaged/<cell>/, never deleted. The next run rebuilds them from the
intact files: scores from weights, weights from a checkpoint or from the recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lico_bench.errors import BrokenFileError, InvalidInputError
from lico_bench.store.cell_folder import (
    PART_FILE,
    SCORE_TABLES,
    TRAINING_FILES,
    CellFolder,
    read_sidecar,
    sidecar_of,
)
from lico_bench.store.codec import encode
from lico_bench.store.files import (
    Damage,
    file_digest,
    file_facts,
    json_bytes,
    quarantine,
    quarantine_path,
    write_json,
    write_sealed,
)
from lico_bench.store.parquet import has_valid_stamp, read_parquet
from lico_bench.store.run_folder import RunFolder
from lico_bench.store.run_records import CellRecord, FileFacts

CHANGED = "changed since it was written (its SHA-256 differs)"
MISMATCH = "does not match its checksum"
MISSING = "missing"
FOREIGN_FILE = "not a file of this cell"
FOREIGN_CELL = "not a cell of this run"
_MAX_ROUNDS = 5  # of check and quarantine: finished cell, unfinished cell, dependent files
# Files of an unfinished cell. A process killed just before the clean-up leaves them in a finished
# cell.
UNFINISHED = (
    "parts", "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.pt.sha256", "failed.json",
)  # fmt: skip


def seal_cell(run: RunFolder, key: str, record: CellRecord) -> None:
    """Write `done.json` of a cell: `record`, with size and SHA-256 of each of its files.

    `record` may come from another run's cell; its key, suite and files are replaced.

    Raises:
        BrokenFileError: if a file of the training was damaged in the meantime.
    """
    cell = run.cell(key)
    files = {path.name: file_facts(path) for path in _results(cell)}
    for name, digests in read_sidecar(sidecar_of(cell.model)).items():
        if name not in files or files[name].sha256 not in digests:
            raise BrokenFileError(
                f"{cell.path / name}: damaged while its cell was scored; repeat the same command, "
                "which quarantines it and trains the cell again"
            )
    suite_key = run.manifest().suite_key
    record = replace(record, key=key, suite_key=suite_key, files=files)
    write_sealed(cell.done, encode(record))
    clear_unfinished(cell)


def clear_unfinished(cell: CellFolder) -> None:
    """Remove files of an unfinished cell from a finished one."""
    cell.drop_parts()
    cell.drop_checkpoints()
    cell.failure.unlink(missing_ok=True)


def check_cell(cell: CellFolder, *, hashes: bool = True) -> tuple[Damage, ...]:
    """Return the damage in a finished or unfinished cell, without changing anything.

    Cells stored before checksums were introduced are checked for missing files only.

    Args:
        hashes: compare checksums of a finished cell's files; otherwise compare sizes only.
    """
    if not cell.path.is_dir():
        return ()
    return tuple(_check_finished(cell, hashes) if cell.is_done else _check_unfinished(cell))


def quarantine_damage(run: RunFolder, damage: Damage) -> Path:
    """Move a damaged file of a cell, and all files that depend on it, to RUN/damaged.

    A finished cell becomes unfinished: with damaged scores it is scored again from its weights,
    with a damaged training file it is trained again. A damaged checkpoint is replaced by the
    previous one; of damaged parts only that part is computed again.

    Returns:
        The path in RUN/damaged, also if the file was missing.

    Raises:
        InvalidInputError: if the file does not belong to a cell of the run.
    """
    cells = run.path / "cells"
    if cells not in damage.file.parents:
        raise InvalidInputError(
            f"{damage.file}: expected a file below {cells}; pass damage found in this run"
        )
    key = damage.file.relative_to(cells).parts[0]
    cell = run.cell(key)
    if damage.file == cell.recipe and (moved := _restore_recipe(run, cell)):
        return moved
    if (
        damage.problem not in (FOREIGN_FILE, FOREIGN_CELL)
        and damage.file.parent != cell.parts
        and cell.is_done
    ):
        quarantine(run.path, cell.done)
    moves = {path: quarantine(run.path, path) for path in _affected_files(cell, damage)}
    if damage.file == cell.checkpoint and cell.previous_checkpoint.is_file():
        cell.previous_checkpoint.replace(cell.checkpoint)
    return moves.get(damage.file) or quarantine_path(run.path, damage.file)


def repair_cell(run: RunFolder, key: str, *, hashes: bool = True) -> tuple[Damage, ...]:
    """Check a cell and quarantine its damaged files; return the damage. Needs the run's lock."""
    cell = run.cell(key)
    found: list[Damage] = []
    # Quarantine may turn a finished cell into an unfinished one, which needs another check.
    for _ in range(_MAX_ROUNDS):
        damages = check_cell(cell, hashes=hashes)
        if not damages:
            break
        for damage in damages:
            quarantine_damage(run, damage)
        found += [damage for damage in damages if damage not in found]
    else:
        raise BrokenFileError(
            f"{damages[0]}; the damage persists after repair, move that file away by hand"
        )
    if cell.is_done:
        clear_unfinished(cell)
    return tuple(found)


def _restore_recipe(run: RunFolder, cell: CellFolder) -> Path | None:
    """Replace a damaged recipe by the manifest's copy; return the quarantined path.

    None if the cell is not finished or the copy does not match the recorded checksum.
    """
    if not cell.is_done:
        return None
    entries = [entry for entry in run.manifest().cells if entry.key == cell.path.name]
    recorded = (cell.record().files or {}).get(cell.recipe.name)
    if not entries or recorded is None:
        return None
    if hashlib.sha256(json_bytes(entries[0])).hexdigest() != recorded.sha256:
        return None
    moved = quarantine(run.path, cell.recipe)
    write_json(cell.recipe, entries[0])
    return moved


def _check_finished(cell: CellFolder, hashes: bool) -> Iterator[Damage]:
    try:
        record = cell.record()
    except BrokenFileError:
        yield Damage(cell.done, MISMATCH)
        return
    if record.key not in (None, cell.path.name):
        yield Damage(cell.done, f"record of another cell, {record.key}")
        return
    if record.files is None:
        tables = [cell.table(name) for name in (*SCORE_TABLES, "history")]
        yield from (Damage(path, MISSING) for path in tables if not path.is_file())
        return
    for name, recorded in record.files.items():
        problem = _problem(cell.path / name, recorded, hashes)
        if problem:
            yield Damage(cell.path / name, problem)
    known = {*record.files, cell.done.name, *UNFINISHED}
    yield from (
        Damage(path, FOREIGN_FILE) for path in _entries(cell.path) if path.name not in known
    )


def _problem(path: Path, recorded: FileFacts, hashes: bool) -> str:
    if not path.is_file():
        return MISSING
    size = path.stat().st_size
    if size != recorded.bytes:
        return f"{size:,} bytes instead of {recorded.bytes:,}"
    return CHANGED if hashes and file_digest(path) != recorded.sha256 else ""


def _check_unfinished(cell: CellFolder) -> Iterator[Damage]:
    if cell.model.is_file() or cell.parts.is_dir():
        for name, digests in read_sidecar(sidecar_of(cell.model)).items():
            path = cell.path / name
            if name not in TRAINING_FILES:
                yield Damage(sidecar_of(cell.model), MISMATCH)
            elif not path.is_file():
                yield Damage(path, MISSING)
            elif file_digest(path) not in digests:
                yield Damage(path, CHANGED)
    known = read_sidecar(sidecar_of(cell.checkpoint)).get(cell.checkpoint.name)
    for path in (cell.checkpoint, cell.previous_checkpoint):
        if known is not None and path.is_file() and file_digest(path) not in known:
            yield Damage(path, CHANGED)
    for path in _entries(cell.parts) if cell.parts.is_dir() else ():
        if problem := _part_problem(cell, path):
            yield Damage(path, problem)


def _part_problem(cell: CellFolder, path: Path) -> str:
    if not PART_FILE.fullmatch(path.name):
        return FOREIGN_FILE
    try:
        if not has_valid_stamp(path):
            return CHANGED
        keys = set(read_parquet(path, ("cell",))["cell"])
    except (ValueError, OSError):  # incomplete, or without the column `cell`
        return "incomplete"
    return "" if keys <= {cell.path.name} else "scores of another cell"


def _affected_files(cell: CellFolder, damage: Damage) -> list[Path]:
    """Return the damaged file and the files that depend on it."""
    path = damage.file
    if damage.problem in (FOREIGN_FILE, FOREIGN_CELL):
        return [path]
    if path.parent == cell.parts:
        match = PART_FILE.fullmatch(path.name)
        return sorted(cell.parts.glob(f"{match['part']}.*")) if match else [path]
    sidecar = sidecar_of(cell.model)
    if path == sidecar or path.name in TRAINING_FILES:
        # A new training may give other weights; the stored parts are scores of the old ones.
        return [*(cell.path / name for name in TRAINING_FILES), sidecar, cell.parts]
    return [path]


def _results(cell: CellFolder) -> list[Path]:
    excluded = (cell.done.name, *UNFINISHED)
    return [path for path in _entries(cell.path) if path.is_file() and path.name not in excluded]


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; hidden files of file systems and desktops are ignored."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
