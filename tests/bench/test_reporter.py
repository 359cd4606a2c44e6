"""Failures of cells: recorded and told, while the other cells go on."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lico_bench.bench import execute, make_plan
from lico_bench.errors import (
    DiskFullError,
    TrainingError,
)
from lico_bench.store import RunFolder
from tests.bench.running import CPU, run


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(suite, reporter, monkeypatch):
    arms = ("baseline", "lico")
    hot = {"learning_rate": 1e30, "schedule": "constant"}
    plan = make_plan(suite)
    broken = replace(plan.cells[0].recipe, **hot)
    cells = (replace(plan.cells[0], recipe=broken), plan.cells[1])
    folder = execute(replace(plan, cells=cells), Path("run"), options=CPU, reporter=reporter)
    (key, failure) = next(iter(folder.failures().items()))
    assert key == plan.cells[0].key
    assert failure.error == "TrainingError"
    assert failure.stage == "training"
    assert "the loss is not finite" in failure.sentence
    assert "Traceback" in failure.traceback
    assert folder.finished() == [plan.cells[1].key]
    assert not folder.cell(key).model.exists()
    assert "FAILED in training" in reporter.of("finish")[0][2]
    # The next run repeats only the failed cell.
    reporter.events.clear()
    again = run(suite, reporter)
    assert len(reporter.of("skip")) == 1
    assert again.failures() == {}
    assert len(again.finished()) == len(arms)
    assert not again.cell(key).failure.exists()


def test_any_error_is_a_cells_failure_but_a_full_disk_stops_the_run(suite, reporter, monkeypatch):
    def fail(error):
        def train(*_args, **_options):
            raise error

        monkeypatch.setattr("lico_bench.bench.cell.train", train)

    fail(ZeroDivisionError("a bug"))
    failures = run(suite, reporter).failures()
    assert [f.sentence for f in failures.values()] == [
        "ZeroDivisionError: a bug (failed.json has the traceback)"
    ] * 2
    fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore"))
    (sentence,) = {f.sentence for f in run(suite, reporter).failures().values()}
    assert sentence.startswith("out of memory (CUDA out of memory. Tried to allocate 20 GiB)")
    for error in (DiskFullError("no room"), OSError(errno.ENOSPC, "No space left on device")):
        fail(error)
        with pytest.raises(OSError, match=r"no room|No space"):
            run(suite, reporter)
        assert RunFolder(Path("run")).failures() == {}


def test_a_cell_whose_scorer_failed_says_so(suite, reporter, monkeypatch):
    trained = []

    def train(recipe, **_options):
        trained.append(recipe.arm)
        raise TrainingError("it diverged")

    monkeypatch.setattr("lico_bench.bench.cell.train", train)
    folder = run(replace(suite, arms=("lico", "baseline"), scorer="baseline"), reporter)
    assert trained == ["baseline"]  # once, although two cells need it
    message = [failure.sentence for failure in folder.failures().values()]
    assert message[0].startswith("the network of 'cifar10 baseline seed 0' scores its maps")
    assert message[1] == "it diverged"
