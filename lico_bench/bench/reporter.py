"""Progress events of a run; the command line implements how they are shown."""

from __future__ import annotations

from typing import Protocol


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
