"""Writing, reading and recovery of a run's manifest."""

from __future__ import annotations

import re
from pathlib import Path

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.store.cell_folder import CellFolder
from lico_bench.store.codec import decode, encode
from lico_bench.store.digests import sealed, unsealed
from lico_bench.store.files import read_json, write_json
from lico_bench.store.lock import LOCK
from lico_bench.store.run_location import MANIFEST, check_is_run
from lico_bench.store.run_records import Manifest

FORMAT = 1
RUN_ENTRIES = (MANIFEST, LOCK, "cells", "damaged", "report")  # top-level entries of a run folder
_SUITE_KEY = re.compile(rb'"suite_key": "([0-9a-f]{12})"')


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest with its format and seal."""
    write_json(path, sealed({"format": FORMAT, **encode(manifest)}))


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`.

    Raises:
        MissingDataError: if there is none.
        BrokenFileError: if it is unreadable, damaged, of another format, or against the schema.
    """
    check_is_run(path.parent)
    content = unsealed(read_json(path))
    if content is None or "format" not in content:
        raise BrokenFileError(
            f"{path}: does not match its checksum; repeat the command that made this run, which "
            "quarantines the manifest and writes it again"
        )
    if content.pop("format") != FORMAT:
        raise BrokenFileError(
            f"{path}: expected a manifest of format {FORMAT}; "
            "it was written by another version, start a new run with another --out"
        )
    return decode(Manifest, content, path)


def is_of_other_version(path: Path) -> bool:
    """Return whether an unusable manifest is intact and of another format."""
    try:
        content = unsealed(read_json(path))
    except (BrokenFileError, MissingDataError):
        return False
    return content is not None and content.get("format", FORMAT) != FORMAT


def check_without_manifest(root: Path, manifest: Manifest, problem: str) -> tuple[str, ...]:
    """Check a folder without a usable manifest and return the repairs it needs, as messages.

    Empty for a missing or empty folder.

    Args:
        manifest: of the suite that is to run in `root`.
        problem: what is wrong with the stored manifest.

    Raises:
        RunMismatchError: if the folder holds other files or cells of another suite.
        BrokenFileError: if the suite of its finished cells cannot be determined.
    """
    if not root.exists() or (root.is_dir() and all(p.name == LOCK for p in root.iterdir())):
        return ()
    path = root / "manifest.json"
    if not path.exists() and (not (root / "cells").is_dir() or not _has_only_run_entries(root)):
        raise RunMismatchError(f"{root} exists and is not a run folder; choose another --out")
    found, wanted = recorded_suite_keys(root), {cell.key for cell in manifest.cells}
    cells = _cells(root)
    if found - {manifest.suite_key} or any(cell.path.name not in wanted for cell in cells):
        raise RunMismatchError(
            f"{root}: {problem}, and it holds another suite; choose another --out, or repeat the "
            "command that made it"
        )
    if not found and any(cell.is_done for cell in cells):
        raise BrokenFileError(
            f"{root}: {problem}, and no file records the suite of its finished cells; "
            "restore the manifest, or start a new run with another --out"
        )
    return (f"{path}: {problem}; all other files belong to this suite, so it is written again",)


def recorded_suite_keys(root: Path) -> set[str]:
    """Return the suite keys found in a damaged manifest and in the records of finished cells."""
    manifest = root / "manifest.json"
    in_manifest = _SUITE_KEY.findall(manifest.read_bytes()) if manifest.is_file() else []
    return {key.decode() for key in in_manifest} | {
        key for cell in _cells(root) if (key := _suite_key(cell)) is not None
    }


def _has_only_run_entries(root: Path) -> bool:
    return all(path.name in RUN_ENTRIES or path.name[0] == "." for path in root.iterdir())


def _cells(root: Path) -> list[CellFolder]:
    cells = root / "cells"
    return [CellFolder(path) for path in sorted(cells.iterdir())] if cells.is_dir() else []


def _suite_key(cell: CellFolder) -> str | None:
    """Return the suite key that a cell records; None if it is unfinished, damaged or old."""
    try:
        return cell.record().suite_key
    except (BrokenFileError, MissingDataError):
        return None
