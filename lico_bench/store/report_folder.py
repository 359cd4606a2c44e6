"""What a report was made of, and whether it is what was written.

RUN/report/made_of.json holds the digests of the manifest, of every cell's record and of every file
of the report. So
a report is current when it was made of what is there, whatever the clocks said at the time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store.digests import SEAL, file_digest, file_facts, has_valid_seal, sealed
from lico_bench.store.files import read_json, write_json
from lico_bench.store.integrity import CHANGED, MISSING, Damage
from lico_bench.store.run_folder import RunFolder

RECORD = "made_of.json"


def seal_report(run: RunFolder, folder: Path, *, cells: Collection[str]) -> None:
    """Write into a finished report what it was made of, and the checksums of its files.

    Args:
        cells: keys of the cells that are in it; another may have been finished meanwhile.
    """
    files = {
        path.relative_to(folder).as_posix(): file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    made_of = {
        key: digest
        for key, digest in _cells(run).items()
        if key in cells or not run.cell(key).is_done
    }
    made = {"manifest": file_digest(run.manifest_path), "cells": made_of, "files": files}
    write_json(folder / RECORD, sealed(made))


def is_report_current(run: RunFolder) -> bool:
    """Whether the report is whole, and was made of this manifest and of the cells as they are."""
    record = _record(run)
    if record is None or record.get("manifest") != file_digest(run.manifest_path):
        return False
    return record["cells"] == _cells(run) and not check_report(run)


def check_report(run: RunFolder) -> tuple[Damage, ...]:
    """What is wrong with the files of the report; nothing for one of before, or none."""
    folder = run.path / "report"
    if not (folder / RECORD).is_file():
        return ()
    record = _record(run)
    if record is None:
        return (Damage(folder / RECORD, "not what was written"),)
    found = []
    for name, fact in record["files"].items():
        path = folder / name
        if not path.is_file():
            found.append(Damage(path, MISSING))
        elif not isinstance(fact, dict) or file_digest(path) != fact.get("sha256"):
            found.append(Damage(path, CHANGED))
    return tuple(found)


def _record(run: RunFolder) -> dict[str, Any] | None:
    """What the report says of itself; None where it says nothing, or is damaged."""
    try:
        record = read_json(run.path / "report" / RECORD)
    except (BrokenFileError, MissingDataError):
        return None
    if not isinstance(record, dict) or SEAL not in record or not has_valid_seal(record):
        return None
    files = record.get("files")
    # A record from somebody else must not send us out of the folder.
    is_inside = isinstance(files, dict) and not any(
        Path(name).is_absolute() or ".." in Path(name).parts for name in files
    )
    return record if is_inside and "cells" in record else None


def _cells(run: RunFolder) -> dict[str, str]:
    """Digest of the record of each cell that is finished or failed."""
    cells = (run.cell(entry["key"]) for entry in run.manifest()["cells"])
    records = {cell.path.name: cell.done if cell.is_done else cell.failure for cell in cells}
    return {key: file_digest(path) for key, path in records.items() if path.is_file()}
