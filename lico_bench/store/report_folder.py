"""The inputs and checksums of a report.

RUN/report/made_of.json holds the digests of the manifest, of every cell's record and of every file
of the report. A report is current if these digests match; file times are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store.codec import decode, encode
from lico_bench.store.digests import file_digest, file_facts, is_sealed, sealed, unsealed
from lico_bench.store.files import read_json, write_json
from lico_bench.store.integrity import CHANGED, MISMATCH, MISSING
from lico_bench.store.quarantine import Damage
from lico_bench.store.run_folder import RunFolder
from lico_bench.store.run_records import ReportRecord

RECORD = "made_of.json"


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
    write_json(folder / RECORD, sealed(encode(record)))


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
        content = read_json(path)
        record = unsealed(content)
        if record is None or not is_sealed(content):
            return None
        return decode(ReportRecord, record, path)
    except (BrokenFileError, MissingDataError):
        return None


def _cell_digests(run: RunFolder) -> dict[str, str]:
    """Return the digest of the record of each finished or failed cell."""
    cells = (run.cell(entry.key) for entry in run.manifest().cells)
    records = {cell.path.name: cell.done if cell.is_done else cell.failure for cell in cells}
    return {key: file_digest(path) for key, path in records.items() if path.is_file()}
