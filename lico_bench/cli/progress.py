"""The course of a run on a terminal (bars) and anywhere else (plain lines), with the time left."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 10.0
SETTLED_AFTER_S = 3.0  # before that, the time left is a guess


@dataclass
class _Clock:
    """Work done and left, in units, and the seconds left that follow from them."""

    total: float = 0.0
    done: float = 0.0
    measured: float = 0.0
    stage: float = 0.0
    share: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def enter(self, work: float) -> None:
        self.close()
        self.stage = work

    def reach(self, share: float) -> None:
        if self.measured == self.share == 0:
            self.started = time.monotonic()  # imports and reading say nothing of what is left
            share = max(share, 1e-9)
        self.share = share

    def close(self) -> None:
        self.done += self.stage
        self.measured += self.stage
        self.stage = self.share = 0.0

    def seconds_left(self) -> float | None:
        """None until something was measured."""
        spent = time.monotonic() - self.started
        measured = self.measured + self.stage * self.share
        if spent < SETTLED_AFTER_S:
            return None
        return spent / measured * max(0.0, self.total - self.done - self.stage * self.share)


def working(console: Console, what: str) -> AbstractContextManager[object]:
    """Say that something without a known end is being done: a spinner, or one line in a log."""
    if console.is_terminal:
        return console.status(what)
    console.print(what, highlight=False)
    return nullcontext()


class TerminalReporter:
    """Two bars: the run with its time left, and the stage under way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._run = TaskID(0)
        self._stage = TaskID(0)

    def begin(self, *, cells: int, work: float) -> None:
        """Show the bars."""
        self._clock = _Clock(total=work)
        self._run = self._bars.add_task(f"{cells} models", total=max(work, 1e-9), left="")
        self._stage = self._bars.add_task("", total=1, left="", visible=False)
        self._bars.start()

    def skip(self, cell: str) -> None:
        """Count a finished cell."""
        self._console.print(f"  {cell}: already done", highlight=False)
        self._show()

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Name the new stage."""
        self._clock.enter(work)
        self._bars.reset(self._stage, description=f"{cell}: {stage}", visible=True)
        self._show()

    def advance(self, done: int, total: int) -> None:
        """Move both bars."""
        self._clock.reach(done / total)
        self._bars.update(self._stage, completed=done, total=total)
        self._show()

    def finish(self, cell: str, message: str) -> None:
        """Leave a line that stays."""
        self._clock.close()
        self._console.print(f"  {cell}: {message}", highlight=False)

    def end(self) -> None:
        """Take the bars away."""
        self._bars.stop()

    def _show(self) -> None:
        done = self._clock.done + self._clock.stage * self._clock.share
        left = self._clock.seconds_left()
        self._bars.update(
            self._run, completed=done, left="" if left is None else f"{format_seconds(left)} left"
        )


class LineReporter:
    """A line per stage and every ten seconds, for logs; `doing` is what is done to the models."""

    def __init__(self, console: Console, *, doing: str = "train and score") -> None:
        self._console = console
        self._doing = doing
        self._clock = _Clock()
        self._cells = self._cell = 0
        self._title = ""
        self._last = 0.0

    def begin(self, *, cells: int, work: float) -> None:
        """Say how much there is."""
        self._cells = cells
        self._clock = _Clock(total=work)
        self._print(f"{cells} {'model' if cells == 1 else 'models'} to {self._doing}")

    def skip(self, cell: str) -> None:
        """Count a finished cell."""
        self._cell += 1
        self._print(f"[{self._cell}/{self._cells}] {cell}: already done")

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Name the new stage."""
        self._clock.enter(work)
        self._title = f"[{self._cell + 1}/{self._cells}] {cell}: {stage}"
        self._last = time.monotonic()

    def advance(self, done: int, total: int) -> None:
        """Say how far it is, not too often."""
        self._clock.reach(done / total)
        if time.monotonic() - self._last < LINE_EVERY_S:
            return
        self._last = time.monotonic()
        left = self._clock.seconds_left()
        when = "" if left is None else f", {format_seconds(left)} left in all"
        self._print(f"{self._title} {done / total:.0%}{when}")

    def finish(self, cell: str, message: str) -> None:
        """Say that a cell is stored."""
        self._clock.close()
        self._cell += 1
        left = self._clock.seconds_left()
        when = "" if not left else f"; {format_seconds(left)} left in all"
        self._print(f"[{self._cell}/{self._cells}] {cell}: {message}{when}")

    def end(self) -> None:
        """Nothing to take away."""

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def format_seconds(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
