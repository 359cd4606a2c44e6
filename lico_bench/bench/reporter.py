"""What a run tells whoever watches it; how that is shown is the command line's business."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives the course of a run."""

    def begin(self, *, cells: int, work: float) -> None:
        """The run starts: number of cells, and work units of those that are not finished."""

    def skip(self, cell: str) -> None:
        """A cell was found finished."""

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """A stage of a cell starts: `training`, `scoring`."""

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Part of the stage of `cell` is done; of the stage that started last if None."""

    def finish(self, cell: str, message: str) -> None:
        """A cell is finished and stored, or has failed."""

    def note(self, sentence: str) -> None:
        """Something that whoever watches must know."""

    def end(self) -> None:
        """No more work."""


class NoOpReporter:
    """Tells nobody; those that tell something of a run say what."""

    def begin(self, *, cells: int, work: float) -> None:
        """Nothing."""

    def skip(self, cell: str) -> None:
        """Nothing."""

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Nothing."""

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Nothing."""

    def finish(self, cell: str, message: str) -> None:
        """Nothing."""

    def note(self, sentence: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
