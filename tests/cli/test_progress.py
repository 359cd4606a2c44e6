"""Progress and the end of a run in lines: what is told and when."""

from __future__ import annotations

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
