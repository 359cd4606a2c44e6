"""Check of the output folder of a report or history."""

from __future__ import annotations

from pathlib import Path

from lico_bench.errors import InvalidInputError
from lico_bench.store import RunFolder


def check_outside(out: Path) -> None:
    """Check that `out` is not inside a run folder, which holds only files of the run.

    Raises:
        InvalidInputError: if `out` is a run folder or lies inside one.
    """
    for folder in (out.resolve(), *out.resolve().parents):
        if RunFolder(folder).manifest_path.is_file():
            raise InvalidInputError(
                f"--out {out}: expected a folder outside of every run, but {folder} is a run; "
                "choose another folder, such as results/history"
            )
