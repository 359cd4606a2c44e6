"""A cell that fails is a result: what went wrong is stored in its folder, and the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from lico_bench.bench.reporter import Reporter
from lico_bench.errors import DiskFullError, LicoBenchError, LostPeersError, plain
from lico_bench.store import RunFolder, write_json
from lico_bench.store.files import NO_SPACE


class CellLike(Protocol):
    """A cell, planned or of a user's own model."""

    @property
    def key(self) -> str:
        """Name of its folder."""

    @property
    def title(self) -> str:
        """Its name for people."""


def attempt(
    cell: CellLike, run: RunFolder, stage: str, reporter: Reporter, work: Callable[[], object]
) -> bool:
    """Whether `work` for a stage of `cell` ended well; a failure is recorded and told.

    Args:
        stage: `training` or `scoring`.

    Raises:
        DiskFullError: as whatever says that the disk is full; interruption and preemption go
            through as well. None of them is a failure of the cell.
    """
    try:
        work()
    except Exception as error:
        if stops_the_run(error):
            raise
        record_failure(cell, run, describe_failure(error, stage), reporter)
        return False
    return True


def stops_the_run(error: Exception) -> bool:
    """Whether no cell is to blame for `error`, and the next one would meet it as well."""
    is_full = isinstance(error, OSError) and error.errno in NO_SPACE
    return is_full or isinstance(error, (DiskFullError, LostPeersError))


def describe_failure(error: Exception, stage: str) -> dict[str, Any]:
    """`error` as plain JSON values: kind, sentence, traceback, stage and time."""
    message = "".join(traceback.format_exception(error))
    return _failure(type(error).__name__, _sentence(error), stage, message)


def record_failure(
    cell: CellLike, run: RunFolder, failure: dict[str, Any], reporter: Reporter
) -> None:
    """Store that `cell` failed, and say so."""
    write_json(run.cell(cell.key).failure, failure)
    reporter.finish(cell.title, f"FAILED in {failure['stage']}: {failure['sentence']}")


def record_blocked(cell: CellLike, scorer: CellLike, run: RunFolder, reporter: Reporter) -> None:
    """Store that `cell` cannot be scored, because the cell whose network scores it failed."""
    sentence = f"the network of '{scorer.title}' scores its maps, and that one failed"
    record_failure(cell, run, _failure("BlockedCell", sentence, "scoring"), reporter)


def record_lost(cell: CellLike, run: RunFolder, how: str, reporter: Reporter) -> None:
    """Store that whatever process ran `cell` ended before the cell did.

    Args:
        how: `was ended by SIGKILL`.
    """
    sentence = f"the process that ran it {how}; look at this machine's memory and system log"
    record_failure(cell, run, _failure("LostWorker", sentence, "training or scoring"), reporter)


def _failure(error: str, sentence: str, stage: str, message: str = "") -> dict[str, Any]:
    return {
        "error": error,
        "sentence": plain(sentence),
        "traceback": message,
        "stage": stage,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _sentence(error: Exception) -> str:
    if isinstance(error, LicoBenchError):
        return str(error)
    first = str(error).partition("\n")[0]
    if isinstance(error, MemoryError) or "OutOfMemoryError" in type(error).__name__:
        return f"out of memory ({first}); lower --set recipe.batch_size=..., or free memory"
    return f"{type(error).__name__}: {first} (failed.json has the traceback)"
