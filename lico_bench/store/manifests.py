"""The manifest of a run: sealed, read, and judged by what else is there when it is damaged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.store.cell_folder import CellFolder
from lico_bench.store.digests import SEAL, has_valid_seal, sealed
from lico_bench.store.files import read_json, write_json
from lico_bench.store.lock import LOCK
from lico_bench.store.run_location import MANIFEST, check_is_run
from lico_bench.store.untrusted import check_manifest

FORMAT = 1
OURS = (MANIFEST, LOCK, "cells", "damaged", "report")  # what a run folder is made of
_SUITE_KEY = re.compile(rb'"suite_key": "([0-9a-f]{12})"')


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest with its format and seal."""
    write_json(path, sealed({"format": FORMAT, **manifest}))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`, without its seal.

    Raises:
        MissingDataError: if there is none.
        BrokenFileError: if it is unreadable, not what was written, of another format, or says
            what no reader can use.
    """
    check_is_run(path.parent)
    manifest = read_json(path)
    # With a seal that is wrong, the format may be what is damaged.
    if _is_foreign(manifest):
        raise BrokenFileError(
            f"{path}: expected a manifest of format {FORMAT}; "
            "it was written by another version, start a new run with another --out"
        )
    if not (isinstance(manifest, dict) and "format" in manifest and has_valid_seal(manifest)):
        raise BrokenFileError(
            f"{path}: not what was written (its checksum differs); repeat the command that made "
            "this run, which sets it aside and writes it anew"
        )
    content = {name: value for name, value in manifest.items() if name != SEAL}
    check_manifest(content, path)
    return content


def is_of_other_version(path: Path) -> bool:
    """Whether a manifest that cannot be used is whole, and of another format."""
    try:
        manifest = read_json(path)
    except (BrokenFileError, MissingDataError):
        return False
    return _is_foreign(manifest)


def _is_foreign(manifest: Any) -> bool:
    """Whether it is whole, and of another format; a format without a right seal may be damage."""
    return (
        isinstance(manifest, dict)
        and "format" in manifest
        and _format(manifest) != FORMAT
        and has_valid_seal(manifest)
    )


def judge_unnamed(root: Path, manifest: Mapping[str, Any], problem: str) -> tuple[str, ...]:
    """What is to be mended in a folder without a usable manifest, in sentences.

    Empty for a folder that is free, where nothing is to be mended.

    Raises:
        RunMismatchError: if it holds something else, or another suite's cells.
        BrokenFileError: if nothing there says which suite its finished cells are of.
    """
    if not root.exists() or (root.is_dir() and all(p.name == LOCK for p in root.iterdir())):
        return ()
    path = root / "manifest.json"
    if not path.exists() and (not (root / "cells").is_dir() or not _holds_only_ours(root)):
        raise RunMismatchError(f"{root} exists and is not a run folder; choose another --out")
    message, wanted = keys_message(root), {cell["key"] for cell in manifest["cells"]}
    cells = _cells(root)
    if message - {manifest["suite_key"]} or any(cell.path.name not in wanted for cell in cells):
        raise RunMismatchError(
            f"{root}: {problem}, and it holds another suite; choose another --out, or repeat the "
            "command that made it"
        )
    if not message and any(cell.is_done for cell in cells):
        raise BrokenFileError(
            f"{root}: {problem}, and nothing there says which suite its finished cells are of; "
            "put the manifest back, or start a new run with another --out"
        )
    return (f"{path}: {problem}; all else is of this suite, so it is written anew",)


def keys_message(root: Path) -> set[str]:
    """Keys of the suite that a run folder without a usable manifest names elsewhere.

    They are in what is left of the manifest and in every finished cell.
    """
    manifest = root / "manifest.json"
    remains = _SUITE_KEY.findall(manifest.read_bytes()) if manifest.is_file() else []
    return {key.decode() for key in remains} | {
        str(key) for cell in _cells(root) if (key := _suite_key(cell)) is not None
    }


def _holds_only_ours(root: Path) -> bool:
    return all(path.name in OURS or path.name[0] == "." for path in root.iterdir())


def _cells(root: Path) -> list[CellFolder]:
    cells = root / "cells"
    return [CellFolder(path) for path in sorted(cells.iterdir())] if cells.is_dir() else []


def _suite_key(cell: CellFolder) -> Any:
    """What a cell says of its suite; None where it is not finished, damaged or of before."""
    try:
        return cell.facts().get("suite_key")
    except (BrokenFileError, MissingDataError):
        return None


def _format(manifest: Mapping[str, Any]) -> Any:
    return manifest.get("format")
