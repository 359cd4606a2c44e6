"""Progress and the end of a run in lines: what is told and when."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from lico_bench.cli import progress
from lico_bench.cli.progress import LINE_INTERVAL_S, LineReporter, TerminalReporter, reporter_for
from lico_bench.errors import TrainingError
from tests.cli.own_process import LONGER


def test_the_last_lines_and_the_exit_code_name_the_cells_that_failed(call_cli, monkeypatch):
    def train(*_args, **_options):
        raise TrainingError("step 3: the loss is not finite")

    monkeypatch.setattr("lico_bench.bench.cell.train", train)
    done = call_cli(*LONGER)
    assert done.returncode == 5
    *_, count, first, second, remedy = done.stdout.strip().splitlines()
    assert count == "2 of 2 cells failed:"
    for line, arm in ((first, "baseline"), (second, "lico")):
        assert f"-{arm}-s0-" in line
        assert line.endswith("in training: step 3: the loss is not finite")
    assert "Repeat the same command" in remedy


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that moves when it is told."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_lines_count_the_models_and_are_no_more_than_one_in_ten_seconds(clock):
    stream = StringIO()
    reporter = LineReporter(Console(file=stream, width=200))
    reporter.begin(cells=3, work=4.0)
    reporter.skip("a")
    reporter.stage("b", "training", work=2.0)
    for second in range(1, 25):
        clock.now = float(second)
        reporter.advance(second, 25)
    reporter.finish("b", "accuracy 50 %")
    first, skipped, *steps, finished = stream.getvalue().splitlines()
    assert first.startswith("3 models")
    assert skipped.startswith("[1/3] a")
    assert len(steps) == int(24 / LINE_INTERVAL_S)
    assert all(line.startswith("[2/3] b: training") for line in steps)
    assert finished.startswith("[2/3] b: accuracy 50 %")


def test_the_time_left_follows_the_work_and_not_the_number_of_models(clock):
    stream = StringIO()
    reporter = LineReporter(Console(file=stream, width=200))
    reporter.begin(cells=2, work=100.0)
    reporter.stage("small", "training", work=20.0)
    reporter.advance(0, 10)
    clock.now = 40.0
    reporter.finish("small", "stored")
    # 20 of 100 took 40 s, so the rest takes 160 s.
    assert stream.getvalue().splitlines()[-1].endswith("3 min left in total")


def test_a_terminal_keeps_a_line_of_each_finished_model_and_no_bar():
    stream = StringIO()
    console = Console(file=stream, width=100, force_terminal=True)
    reporter = reporter_for(console)
    assert isinstance(reporter, TerminalReporter)
    assert isinstance(reporter_for(Console(file=StringIO())), LineReporter)
    reporter.begin(cells=2, work=4.0)
    for cell in ("one [1]", "two"):
        reporter.stage(cell, "training", work=2.0)
        reporter.advance(3, 3)
        reporter.finish(cell, "stored")
    assert not reporter._stages
    assert reporter._bars.tasks[0].completed == 4.0
    reporter.end()
    for line in ("  one [1]: stored", "  two: stored"):
        assert line in stream.getvalue()
