"""Timing of units: largest share first, within the budget, without side effects."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from lico_bench.bench import ExecutorOptions, calibration, execute, make_plan
from lico_bench.bench.calibration import (
    calibrate,
    estimate_remaining,
    time_units,
    write_calibration,
)
from lico_bench.bench.time_estimate import (
    CLASSIFYING,
    DRAWING,
    EXPLAINING,
    REPORT_PLOT,
    SETUP,
    STORE,
    TRAINING,
    Calibration,
    estimate_time,
    remaining_training,
)
from lico_bench.bench.unit_timers import random_images
from lico_bench.errors import OutOfMemoryError, Preempted, TrainingError
from lico_bench.report import build_report
from lico_bench.store import RunFolder

PLENTY_S = 120.0


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def plan(suite):
    changes = {"text_encoder": "random", "batch_size": 16}
    return make_plan(replace(suite, changes={**suite.changes, **changes}))


def timed(plan, *, budget_s, on_unit=lambda _what: None, **options) -> Calibration:
    left = remaining_training(plan, None)
    return time_units(
        plan, left, Calibration({}), device="cpu", budget_s=budget_s, on_unit=on_unit, **options
    )


@pytest.mark.slow
def test_every_kind_of_unit_is_timed_where_there_is_time(plan):
    seen = []
    known = timed(plan, budget_s=PLENTY_S, on_unit=seen.append)
    kinds = {name.split(" | ")[0] for name in known.timings}
    kinds_of_work = {
        TRAINING,
        CLASSIFYING,
        EXPLAINING,
        DRAWING,
    }
    assert kinds == kinds_of_work | {SETUP}  # which is timed with the training
    assert len(seen) == len(known.timings) - 1 == 5  # two arms
    assert all(math.isfinite(t.seconds) and t.seconds > 0 for t in known.timings.values())


def test_without_time_nothing_is_timed_and_an_estimate_is_made_all_the_same(plan):
    known = timed(plan, budget_s=0.0)
    assert not known.timings
    cost = estimate_time(plan, remaining_training(plan, None), known)
    assert cost.seconds > 0
    assert cost.timed_share == 0


@pytest.mark.slow
def test_what_takes_longest_is_timed_first(suite):
    seen = []
    long = make_plan(replace(suite, arms=("baseline",), changes={**suite.changes, "epochs": 500}))
    timed(long, budget_s=PLENTY_S, on_unit=seen.append)
    assert seen[0].startswith(TRAINING)
    seen.clear()
    many = make_plan(replace(suite, arms=("baseline",), limit=500))
    timed(many, budget_s=PLENTY_S, on_unit=seen.append)
    assert seen[0].startswith(EXPLAINING)


@pytest.mark.slow
def test_a_calibration_times_nearly_all_and_once_kept_nothing_is_timed_again(plan):
    known = calibrate(plan, device="cpu", write_report=build_report, budget_s=PLENTY_S)
    assert known.has_timing(STORE)
    assert known.has_timing(REPORT_PLOT)
    assert estimate_time(plan, remaining_training(plan, None), known).timed_share > 0.9
    write_calibration(known)
    assert estimate_remaining(plan, None, device="cpu").took_s == 0


def test_the_images_are_of_the_size_and_classes_of_the_dataset(plan):
    cell, facts = plan.cells[0], plan.datasets["cifar10"]
    noise = random_images(plan, cell, "train", 6)
    assert noise.images.shape == (6, 3, *facts.image_size)
    assert noise.prompt_names == facts.prompt_names
    assert noise.has_regions == facts.has_regions


@pytest.mark.slow
def test_a_look_changes_nothing_that_a_training_uses(plan, tmp_path):
    torch.manual_seed(3)
    torch.rand(5)

    def state():
        threads = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
        drawn = random.getstate(), tuple(np.random.get_state()[1].tolist())  # noqa: NPY002
        return torch.get_rng_state().tolist(), threads, drawn

    before = state()
    assert estimate_remaining(plan, RunFolder(tmp_path / "run"), device="cpu").took_s > 0
    assert state() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_weights_are_the_same_with_and_without_a_look(plan, reporter, tmp_path):
    looked = []

    def starting(run):
        looked.append(estimate_remaining(plan, run, device="cpu"))

    cpu = ExecutorOptions(device="cpu")
    with_look = execute(plan, tmp_path / "a", options=cpu, reporter=reporter, starting=starting)
    without = execute(plan, tmp_path / "b", options=cpu, reporter=reporter)
    assert len(looked) == 1
    assert looked[0].timed_share > 0
    for cell in plan.cells:
        weights = [run.cell(cell.key).model.read_bytes() for run in (with_look, without)]
        assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_finished_run_is_not_looked_at(plan, reporter, tmp_path):
    run = execute(plan, tmp_path, options=ExecutorOptions(device="cpu"), reporter=reporter)
    estimate = estimate_remaining(plan, run, device="cpu")
    assert (estimate.seconds, estimate.took_s) == (0, 0)


def test_a_trial_that_cannot_be_trained_is_left_out_and_a_full_memory_is_told(plan, monkeypatch):
    def fail(error):
        def trial(*_args):
            raise error

        monkeypatch.setitem(calibration.TIMERS, TRAINING, trial)

    fail(TrainingError("diverged"))
    known = timed(plan, budget_s=PLENTY_S)
    assert not any(name.startswith(TRAINING) for name in known.timings)
    assert any(name.startswith(EXPLAINING) for name in known.timings)
    for error in (OutOfMemoryError("full"), RuntimeError("can't allocate memory")):
        fail(error)
        with pytest.raises(type(error)):
            timed(plan, budget_s=PLENTY_S)


def test_a_preemption_ends_the_timing_and_leaves_the_random_numbers(plan):
    def interrupt(_what):
        torch.rand(3)
        raise Preempted

    before = torch.get_rng_state()
    with pytest.raises(Preempted):
        timed(plan, budget_s=PLENTY_S, on_unit=interrupt)
    assert torch.equal(torch.get_rng_state(), before)
