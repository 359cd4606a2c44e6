"""Parallel worker processes: identical results, and the handling of dead workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lico_bench.bench import ExecutorOptions, execute, make_plan
from lico_bench.bench.executors.local import (
    _Worker,
    _WorkerPool,
    device_of_worker,
    threads_per_worker,
)
from lico_bench.errors import InvalidInputError, Preempted
from lico_bench.store import RunFolder

RESULTS = ("model.safetensors", "rows.parquet", "curves.parquet", "gallery.parquet")


def run(suite, reporter, out: Path, workers: int) -> RunFolder:
    options = ExecutorOptions(device="cpu", workers=workers)
    return execute(make_plan(suite), out, options=options, reporter=reporter)


def results(folder: Path) -> dict[str, bytes]:
    found = [path for name in RESULTS for path in sorted(folder.glob(f"cells/*/{name}"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_cores_are_shared_out_and_never_multiplied():
    assert threads_per_worker(1) <= torch.get_num_threads()
    assert threads_per_worker(1000) == 1


def test_a_device_that_is_named_is_everybodys():
    assert [device_of_worker("cpu", number) for number in range(3)] == ["cpu"] * 3


def test_gpus_go_round(monkeypatch):
    module = "lico_bench.bench.executors.local"
    monkeypatch.setattr(f"{module}.pick_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of_worker("cuda", n) for n in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device_of_worker("cuda:1", 0) == "cuda:1"


def test_no_workers_are_refused():
    with pytest.raises(InvalidInputError, match="workers: expected a whole number of at least 1"):
        ExecutorOptions(workers=0)


def test_a_cell_waits_for_the_one_whose_network_scores_it(suite, reporter):
    plan = make_plan(replace(suite, arms=("lico", "baseline"), scorer="baseline"))
    lico, baseline = plan.cells
    pool = _WorkerPool(plan, RunFolder(Path("run")), ExecutorOptions(), reporter, [lico, baseline])
    assert pool._next_cell() is baseline
    pool.waiting = [lico]
    pool.workers = [_Worker(None, None, 0, cell=baseline)]  # type: ignore[arg-type]
    assert pool._next_cell() is None
    pool.workers = []
    assert pool._next_cell() is lico


@pytest.mark.slow
def test_two_workers_store_what_one_process_stores(suite, reporter):
    alone = run(suite, reporter, Path("alone"), 1)
    course = [event[:3] for event in reporter.events if event[0] in ("stage", "finish")]
    reporter.events.clear()
    both = run(suite, reporter, Path("both"), 2)
    assert results(both.path) == results(alone.path)
    assert len(results(both.path)) == 8
    message = [event[:3] for event in reporter.events if event[0] in ("stage", "finish")]
    assert {t for t in message if t[0] == "stage"} == {t for t in course if t[0] == "stage"}
    assert len(reporter.of("finish")) == 2
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_cell_whose_worker_is_killed_is_handed_out_again(suite, reporter):
    alone = run(suite, type(reporter)(), Path("alone"), 1)
    reporter.stage = killing(times=1)
    both = run(suite, reporter, Path("both"), 2)
    assert results(both.path) == results(alone.path)
    assert "was ended by SIGKILL" in reporter.of("note")[0][1]


@pytest.mark.slow
def test_a_cell_that_kills_every_worker_fails_and_the_others_go_on(suite, reporter):
    suite = replace(suite, scorer="baseline")  # so that lico runs alone
    lico = make_plan(suite).cells[1]
    reporter.stage = killing(times=3, of=lico.title)
    folder = run(suite, reporter, Path("run"), 2)
    assert list(folder.failures()) == [lico.key]
    assert "was ended by SIGKILL (memory?), 3 times" in folder.failures()[lico.key].sentence
    assert len(folder.finished()) == 1


@pytest.mark.slow
def test_a_notice_reaches_the_workers_and_the_next_run_goes_on(suite, reporter):
    alone = run(suite, type(reporter)(), Path("alone"), 1)
    sent = []

    def notify(*_args, **_options):
        if not sent:
            sent.append(time.monotonic())
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()

    reporter.advance = notify
    with pytest.raises(Preempted):
        run(suite, reporter, Path("both"), 2)
    assert multiprocessing.active_children() == []
    assert results(run(suite, type(reporter)(), Path("both"), 2).path) == results(alone.path)


def killing(*, times: int, of: str = ""):
    """A reporter's `stage` that kills all workers when a cell starts."""
    left = [times]

    def stage(cell, _stage, *, work):
        if left[0] and (not of or cell == of):
            left[0] -= 1
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)

    return stage
