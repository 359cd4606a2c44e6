"""Outputs of a run: its report, whose inputs are recorded, and a small copy to publish.

RUN/report/made_of.json holds the digests of the manifest, of every cell's record and of every file
of the report. A report is current if these digests match; file times are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.store.cell_folder import EMPTY_COLUMNS, CellFolder
from lico_bench.store.codec import REMEDY, decode, encode
from lico_bench.store.files import (
    Damage,
    file_digest,
    file_facts,
    read_sealed,
    write_bytes,
    write_json,
    write_sealed,
)
from lico_bench.store.integrity import CHANGED, MISMATCH, MISSING, check_cell, seal_cell
from lico_bench.store.parquet import pack_parquet, write_parquet
from lico_bench.store.run_folder import RUN_ENTRIES, RunFolder, write_manifest
from lico_bench.store.run_records import ReportRecord

RECORD = "made_of.json"
LEFT_OUT = ("curves", "gallery")  # per-image tables that no number of a report depends on
KEPT_FILES = ("recipe.json", "findings.json")
KEPT_TABLES = ("history", "rows")


def seal_report(run: RunFolder, folder: Path, *, cells: Collection[str]) -> None:
    """Record the inputs of a finished report and the checksums of its files.

    Args:
        cells: keys of the cells in the report; others may have finished in the meantime.
    """
    files = {
        path.relative_to(folder).as_posix(): file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    cell_digests = {
        key: digest
        for key, digest in _cell_digests(run).items()
        if key in cells or not run.cell(key).is_done
    }
    record = ReportRecord(file_digest(run.manifest_path), cell_digests, files)
    write_sealed(folder / RECORD, encode(record))


def is_report_current(run: RunFolder) -> bool:
    """Return whether the report is intact and made from the current manifest and cells."""
    record = _record(run)
    if record is None or record.manifest != file_digest(run.manifest_path):
        return False
    return record.cells == _cell_digests(run) and not check_report(run)


def check_report(run: RunFolder) -> tuple[Damage, ...]:
    """Return the damage in the report; empty for no report or one without a record."""
    folder = run.path / "report"
    if not (folder / RECORD).is_file():
        return ()
    record = _record(run)
    if record is None:
        return (Damage(folder / RECORD, MISMATCH),)
    damages = []
    for name, facts in record.files.items():
        path = folder / name
        if not path.is_file():
            damages.append(Damage(path, MISSING))
        elif file_digest(path) != facts.sha256:
            damages.append(Damage(path, CHANGED))
    return tuple(damages)


def _record(run: RunFolder) -> ReportRecord | None:
    """Return the record of the report, or None if it is missing or damaged."""
    path = run.path / "report" / RECORD
    try:
        return decode(ReportRecord, read_sealed(path, remedy=REMEDY), path)
    except (BrokenFileError, MissingDataError):
        return None


def _cell_digests(run: RunFolder) -> dict[str, str]:
    """Return the digest of the record of each finished or failed cell."""
    cells = (run.cell(entry.key) for entry in run.manifest().cells)
    records = {cell.path.name: cell.done if cell.is_done else cell.failure for cell in cells}
    return {key: file_digest(path) for key, path in records.items() if path.is_file()}


def publish(run: RunFolder, folder: Path) -> RunFolder:
    """Copy the data behind the reported numbers of `run` into `folder`; return the copy.

    Rows and histories are copied with stronger compression. Weights, curves and images are left
    out, so the copy cannot be scored again and its report has no curves and no gallery.

    Raises:
        MissingDataError: if no cell of the run is finished.
        InvalidInputError: if `folder` already holds a run, or a file of the run is damaged.
    """
    manifest, keys = run.manifest(), run.finished()
    if not keys:
        raise MissingDataError(f"{run.path}: no cell is finished; finish the run first")
    existing = next((folder / name for name in RUN_ENTRIES if (folder / name).exists()), None)
    if existing is not None:
        raise InvalidInputError(f"{existing} exists; remove it, or name another folder")
    for key in keys:
        for damage in check_cell(run.cell(key)):
            raise InvalidInputError(f"{damage}; `lico-bench verify --repair` quarantines it")
    copy = RunFolder(folder)
    write_manifest(copy.manifest_path, replace(manifest, left_out=("weights", *LEFT_OUT)))
    for key in keys:
        _copy_cell(run.cell(key), copy.cell(key))
        seal_cell(copy, key, run.cell(key).record())
    for key, failure in run.failures().items():
        write_json(copy.cell(key).failure, failure)
    return copy


def _copy_cell(cell: CellFolder, copy: CellFolder) -> None:
    for name in KEPT_FILES:
        if (cell.path / name).is_file():
            write_bytes(copy.path / name, (cell.path / name).read_bytes())
    for name in KEPT_TABLES:
        pack_parquet(cell.table(name), copy.table(name))
    for name in LEFT_OUT:
        write_parquet(copy.table(name), pd.DataFrame(columns=list(EMPTY_COLUMNS[name])))
