"""Report the progress of a run, and store failures of its cells so that other cells continue.

The command line implements how progress is shown.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from lico_bench.errors import DiskFullError, LicoBenchError, LostPeersError, escape_controls
from lico_bench.store import RunFolder, write_json
from lico_bench.store.files import NO_SPACE
from lico_bench.store.run_records import Failure

if TYPE_CHECKING:
    from lico_bench.bench.plan import PlannedCell
    from lico_bench.bench.user_plan import UserCell


class Reporter(Protocol):
    """Receives the events of a run."""

    def begin(self, *, cells: int, work: float) -> None:
        """The run starts with `cells` cells; `work` is the cost of the unfinished ones."""

    def skip(self, cell: str) -> None:
        """A cell is already finished."""

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """A stage of a cell starts: `training` or `scoring`."""

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Progress of the current stage of `cell`; None means the stage that started last."""

    def finish(self, cell: str, message: str) -> None:
        """A cell is stored or has failed."""

    def note(self, sentence: str) -> None:
        """A message for the user."""

    def end(self) -> None:
        """The run ends."""


class NoOpReporter:
    """No-op reporter; subclasses override events."""

    def begin(self, *, cells: int, work: float) -> None:
        """Ignore the event."""

    def skip(self, cell: str) -> None:
        """Ignore the event."""

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Ignore the event."""

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Ignore the event."""

    def finish(self, cell: str, message: str) -> None:
        """Ignore the event."""

    def note(self, sentence: str) -> None:
        """Ignore the event."""

    def end(self) -> None:
        """Ignore the event."""


def attempt(
    cell: PlannedCell | UserCell,
    run: RunFolder,
    stage: str,
    reporter: Reporter,
    work: Callable[[], object],
) -> bool:
    """Run `work` for a stage of `cell`; return False and record the failure if it raises.

    Interruption and preemption are not caught.

    Args:
        stage: `training` or `scoring`.

    Raises:
        DiskFullError, LostPeersError, OSError: errors that no cell causes, see `stops_the_run`.
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
    """Whether `error` is independent of the cell and would occur in the next cell as well."""
    is_full = isinstance(error, OSError) and error.errno in NO_SPACE
    return is_full or isinstance(error, (DiskFullError, LostPeersError))


def describe_failure(error: Exception, stage: str) -> Failure:
    """Return the record of `error`."""
    trace = "".join(traceback.format_exception(error))
    return _failure(type(error).__name__, _sentence(error), stage, trace)


def record_failure(
    cell: PlannedCell | UserCell, run: RunFolder, failure: Failure, reporter: Reporter
) -> None:
    """Store the failure of `cell` and report it."""
    write_json(run.cell(cell.key).failure, failure)
    reporter.finish(cell.title, f"FAILED in {failure.stage}: {failure.sentence}")


def record_blocked(
    cell: PlannedCell | UserCell, scorer: PlannedCell | UserCell, run: RunFolder, reporter: Reporter
) -> None:
    """Record that `cell` cannot be scored because its scorer's training failed."""
    sentence = f"the network of '{scorer.title}' scores its maps, but that cell failed"
    record_failure(cell, run, _failure("BlockedCell", sentence, "scoring"), reporter)


def record_lost(cell: PlannedCell | UserCell, run: RunFolder, how: str, reporter: Reporter) -> None:
    """Record that the process that ran `cell` ended before the cell was finished.

    Args:
        how: how the process ended, such as `was ended by SIGKILL`.
    """
    sentence = f"the process that ran it {how}; check this machine's memory and system log"
    record_failure(cell, run, _failure("LostWorker", sentence, "training or scoring"), reporter)


def _failure(error: str, sentence: str, stage: str, trace: str = "") -> Failure:
    return Failure(
        error=error,
        sentence=escape_controls(sentence),
        traceback=trace,
        stage=stage,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, LicoBenchError):
        return str(error)
    first_line = str(error).partition("\n")[0]
    if isinstance(error, MemoryError) or "OutOfMemoryError" in type(error).__name__:
        return f"out of memory ({first_line}); lower --set recipe.batch_size=..., or free memory"
    return f"{type(error).__name__}: {first_line} (failed.json has the traceback)"
