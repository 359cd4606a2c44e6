"""Progress of a run with the remaining time, and its final output.

Progress is shown as bars on a terminal, and as plain lines elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lico_bench.cli.console import format_seconds, say, working
from lico_bench.cli.exit_codes import FAILED_CELLS

if TYPE_CHECKING:
    from lico_bench.bench import Reporter
    from lico_bench.store import RunFolder
    from lico_bench.store.run_records import Failure

LINE_INTERVAL_S = 10.0
MIN_ELAPSED_S = 3.0  # earlier estimates of the remaining time are too noisy


@dataclass
class _Stage:
    work: float
    share: float = 0.0


@dataclass
class _Clock:
    """Finished and total work, in arbitrary units, and the remaining time estimated from them.

    Attributes:
        closed: work of finished stages.
        stages: running stages by cell; several if cells run in parallel.
    """

    total: float = 0.0
    closed: float = 0.0
    stages: dict[str, _Stage] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> float:
        """Work done in finished and running stages."""
        return self.closed + sum(stage.work * stage.share for stage in self.stages.values())

    def enter(self, cell: str, work: float) -> None:
        self.close(cell)
        self.stages[cell] = _Stage(work)

    def reach(self, cell: str, share: float) -> None:
        if self.done == 0:
            self.started = time.monotonic()  # excludes imports and reading
            share = max(share, 1e-9)
        if cell in self.stages:
            self.stages[cell].share = share

    def close(self, cell: str) -> None:
        if cell in self.stages:
            self.closed += self.stages.pop(cell).work

    def seconds_left(self) -> float | None:
        """Return the estimated remaining time, or None while it is too early to estimate."""
        elapsed, done = time.monotonic() - self.started, self.done
        if elapsed < MIN_ELAPSED_S or done == 0:
            return None
        return elapsed / done * max(0.0, self.total - done)


def reporter_for(console: Console, *, action: str = "train and score") -> Reporter:
    """Return progress bars for a terminal, lines otherwise."""
    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(console, action=action)


def end_run(run: RunFolder, console: Console, *, compared: str) -> None:
    """Print the results of a run; list failed cells last and exit with FAILED_CELLS.

    Args:
        compared: noun for the progress line, such as `the arms`.
    """
    if run.finished():
        _show_results(run, console, compared=compared)
    exit_if_failed(run.failures(), len(run.manifest().cells), console)


def exit_if_failed(failures: Mapping[str, Failure], num_cells: int, console: Console) -> None:
    """List failed cells, of `num_cells` in all, and exit with FAILED_CELLS if there are any."""
    if not failures:
        return
    say(
        console,
        f"{len(failures)} of {num_cells} cells failed:",
        *(f"  {key} in {failure.stage}: {failure.sentence}" for key, failure in failures.items()),
        "Repeat the same command to try them again; finished cells are kept.",
    )
    raise typer.Exit(FAILED_CELLS)


def _show_results(run: RunFolder, console: Console, *, compared: str) -> None:
    """Print the summary of a run and the path of its report; write the report if it is outdated.

    Args:
        compared: noun for the progress line, such as `the arms`.
    """
    from lico_bench.report import build_report, current_report, gather, show_summary

    with working(console, f"Comparing {compared}"):
        content = gather(run)
    console.print(show_summary(content))
    paths = current_report(run)
    if paths is None:
        with working(console, "Writing the report"):
            paths = build_report(run, content)
    say(console, f"Report: {paths.html}")


class TerminalReporter:
    """Progress bars: one for the run with its remaining time, one per running stage."""

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
        self._current_cell = ""

    def begin(self, *, cells: int, work: float) -> None:
        """Show the bars."""
        self._clock = _Clock(total=work)
        self._run = self._bars.add_task(f"{cells} models", total=max(work, 1e-9), left="")
        self._bars.start()

    def skip(self, cell: str) -> None:
        """Print that a cell was finished before."""
        self._print(f"  {cell}: already done")
        self._show()

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Show the bar of a new stage."""
        self._remove_completed()
        self._clock.enter(cell, work)
        self._current_cell = cell
        if cell not in self._stages:
            self._stages[cell] = self._bars.add_task("", total=1, left="")
        self._bars.reset(self._stages[cell], description=f"{cell}: {stage}")
        self._show()

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Move the bars of the stage and of the run."""
        key = cell or self._current_cell
        self._clock.reach(key, done / total)
        if key in self._stages:
            self._bars.update(self._stages[key], completed=done, total=total)
        self._show()

    def finish(self, cell: str, message: str) -> None:
        """Replace the bar of a cell by a permanent line."""
        self._clock.close(cell)
        self._remove(cell)
        self._print(f"  {cell}: {message}")

    def note(self, sentence: str) -> None:
        """Print a permanent line."""
        self._print(f"  {sentence}")

    def end(self) -> None:
        """Remove the bars."""
        self._bars.stop()

    def _remove_completed(self) -> None:
        """Remove the bars of completed stages, such as trainings needed only for their network."""
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
    """Log lines: one per finished cell, and one every ten seconds during a stage.

    `action` is the verb of the first line: `3 models to train and score`.
    """

    def __init__(self, console: Console, *, action: str = "train and score") -> None:
        self._console = console
        self._action = action
        self._clock = _Clock()
        self._num_cells = self._num_finished = 0
        self._titles: dict[str, str] = {}
        self._current_cell = ""
        self._last_line_s = 0.0

    def begin(self, *, cells: int, work: float) -> None:
        """Print the number of models."""
        self._num_cells, self._num_finished = cells, 0
        self._clock = _Clock(total=work)
        self._print(f"{cells} {'model' if cells == 1 else 'models'} to {self._action}")

    def skip(self, cell: str) -> None:
        """Print that a cell was finished before."""
        self._num_finished += 1
        self._print(f"[{self._num_finished}/{self._num_cells}] {cell}: already done")

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Start a stage."""
        self._clock.enter(cell, work)
        self._current_cell = cell
        self._titles[cell] = f"[{self._num_finished + 1}/{self._num_cells}] {cell}: {stage}"
        self._last_line_s = time.monotonic()

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Print the progress of a stage, at most every `LINE_INTERVAL_S`."""
        key = cell or self._current_cell
        self._clock.reach(key, done / total)
        if time.monotonic() - self._last_line_s < LINE_INTERVAL_S:
            return
        self._last_line_s = time.monotonic()
        left = self._clock.seconds_left()
        remaining = "" if left is None else f", {format_seconds(left)} left in total"
        self._print(f"{self._titles.get(key, key)} {done / total:.0%}{remaining}")

    def finish(self, cell: str, message: str) -> None:
        """Print that a cell is stored."""
        self._clock.close(cell)
        self._num_finished += 1
        left = self._clock.seconds_left()
        remaining = "" if not left else f"; {format_seconds(left)} left in total"
        self._print(f"[{self._num_finished}/{self._num_cells}] {cell}: {message}{remaining}")

    def note(self, sentence: str) -> None:
        """Print a line."""
        self._print(sentence)

    def end(self) -> None:
        """Do nothing; there are no bars to remove."""

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
