"""Where a report or history of the user's choice may go."""

from __future__ import annotations

from pathlib import Path

from lico_bench.errors import InvalidInputError
from lico_bench.store import RunFolder


def check_outside(out: Path) -> None:
    """Raise if `out` is, or lies in, a run folder: what is stored there is the run's alone.

    Raises:
        InvalidInputError: naming the run.
    """
    for folder in (out.resolve(), *out.resolve().parents):
        if RunFolder(folder).manifest_path.is_file():
            raise InvalidInputError(
                f"--out {out}: expected a folder outside of every run, but {folder} is a run; "
                "choose another, such as results/history"
            )
