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
class _Stage:
    work: float
    share: float = 0.0


@dataclass
class _Clock:
    """Work done and left, in units, and the seconds left that follow from them.

    Attributes:
        closed: work of the stages that are over.
        stages: those under way, by cell; several where cells run beside each other.
    """

    total: float = 0.0
    closed: float = 0.0
    stages: dict[str, _Stage] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> float:
        """Work done, of stages that are over and of those under way."""
        return self.closed + sum(stage.work * stage.share for stage in self.stages.values())

    def enter(self, cell: str, work: float) -> None:
        self.close(cell)
        self.stages[cell] = _Stage(work)

    def reach(self, cell: str, share: float) -> None:
        if self.done == 0:
            self.started = time.monotonic()  # imports and reading say nothing of what is left
            share = max(share, 1e-9)
        if cell in self.stages:
            self.stages[cell].share = share

    def close(self, cell: str) -> None:
        if cell in self.stages:
            self.closed += self.stages.pop(cell).work

    def seconds_left(self) -> float | None:
        """None until something was measured."""
        spent, done = time.monotonic() - self.started, self.done
        if spent < SETTLED_AFTER_S or done == 0:
            return None
        return spent / done * max(0.0, self.total - done)


def working(console: Console, what: str) -> AbstractContextManager[object]:
    """Say that something without a known end is being done: a spinner, or one line in a log."""
    if console.is_terminal:
        return console.status(what)
    console.print(what, highlight=False, markup=False)
    return nullcontext()


class TerminalReporter:
    """A bar for the run with its time left, and one for each stage under way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._run = TaskID(0)
        self._stages: dict[str, TaskID] = {}
        self._newest = ""

    def begin(self, *, cells: int, work: float) -> None:
        """Show the bars."""
        self._clock = _Clock(total=work)
        self._run = self._bars.add_task(f"{cells} models", total=max(work, 1e-9), left="")
        self._bars.start()

    def skip(self, cell: str) -> None:
        """Count a finished cell."""
        self._console.print(f"  {cell}: already done", highlight=False, markup=False)
        self._show()

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Name the new stage."""
        self._remove_whole()
        self._clock.enter(cell, work)
        self._newest = cell
        if cell not in self._stages:
            self._stages[cell] = self._bars.add_task("", total=1, left="")
        self._bars.reset(self._stages[cell], description=f"{cell}: {stage}")
        self._show()

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Move both bars."""
        named = cell or self._newest
        self._clock.reach(named, done / total)
        if named in self._stages:
            self._bars.update(self._stages[named], completed=done, total=total)
        self._show()

    def finish(self, cell: str, message: str) -> None:
        """Leave a line that stays."""
        self._clock.close(cell)
        self._remove(cell)
        self._print(f"  {cell}: {message}")

    def note(self, sentence: str) -> None:
        """Leave a line that stays."""
        self._print(f"  {sentence}")

    def end(self) -> None:
        """Take the bars away."""
        self._bars.stop()

    def _remove_whole(self) -> None:
        """Take away the bars of trainings that were only needed for their network."""
        for cell in [c for c, stage in self._clock.stages.items() if stage.share >= 1]:
            self._clock.close(cell)
            self._remove(cell)

    def _remove(self, cell: str) -> None:
        if cell in self._stages:
            self._bars.remove_task(self._stages.pop(cell))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    def _show(self) -> None:
        left = self._clock.seconds_left()
        self._bars.update(
            self._run,
            completed=self._clock.done,
            left="" if left is None else f"{format_seconds(left)} left",
        )


class LineReporter:
    """A line per stage and every ten seconds, for logs; `doing` is what is done to the models."""

    def __init__(self, console: Console, *, doing: str = "train and score") -> None:
        self._console = console
        self._doing = doing
        self._clock = _Clock()
        self._cells = self._cell = 0
        self._titles: dict[str, str] = {}
        self._newest = ""
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
        self._clock.enter(cell, work)
        self._newest = cell
        self._titles[cell] = f"[{self._cell + 1}/{self._cells}] {cell}: {stage}"
        self._last = time.monotonic()

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Say how far it is, not too often."""
        named = cell or self._newest
        self._clock.reach(named, done / total)
        if time.monotonic() - self._last < LINE_EVERY_S:
            return
        self._last = time.monotonic()
        left = self._clock.seconds_left()
        when = "" if left is None else f", {format_seconds(left)} left in all"
        self._print(f"{self._titles.get(named, named)} {done / total:.0%}{when}")

    def finish(self, cell: str, message: str) -> None:
        """Say that a cell is stored."""
        self._clock.close(cell)
        self._cell += 1
        left = self._clock.seconds_left()
        when = "" if not left else f"; {format_seconds(left)} left in all"
        self._print(f"[{self._cell}/{self._cells}] {cell}: {message}{when}")

    def note(self, sentence: str) -> None:
        """Say it."""
        self._print(sentence)

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
