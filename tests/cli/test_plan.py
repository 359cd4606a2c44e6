"""`run --plan`, and the estimated time of a run."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lico_bench.bench import ExecutorOptions, Suite, make_plan
from lico_bench.bench.time_estimate import STAGES, TimeEstimate
from lico_bench.cli.plan import print_time, time_sentence
from lico_bench.store import RunFolder
from tests.cli.own_process import TINY


def test_plan_runs_nothing(lico_bench):
    done = lico_bench(*TINY, "--plan")
    assert done.returncode == 0
    assert "Nothing was run." in done.stdout
    assert "2 models" in done.stdout
    assert not Path("run").exists()


LINE = re.compile(
    r"^  (About|Roughly) \d+ (s|min) for (.*) on the CPU \(1 thread, float32\), .*\.$", re.MULTILINE
)
CPU = ExecutorOptions(device="cpu")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def plan():
    precision = {"precision": "float32"}
    return make_plan(Suite(("cifar10", "svhn"), data="standin", limit=128, changes=precision))


def estimate(plan, seconds: float, **changes) -> TimeEstimate:
    """Half of it training and half of it scoring, all models alike."""
    by_cell = {cell.key: seconds / len(plan.cells) for cell in plan.cells}
    by_stage = dict.fromkeys(STAGES.values(), 0.0)
    by_stage |= {"training": seconds * 0.45, "scoring": seconds * 0.55}
    return replace(TimeEstimate(by_stage, by_cell, 0.95, took_s=3.2), **changes)


@pytest.mark.slow
def test_a_run_says_in_one_line_how_long_it_takes_and_counts_what_is_missing(call_cli):
    planned = call_cli(*TINY, "--plan")
    assert [found[2] for found in LINE.findall(planned.stdout)] == ["2 models"]
    assert not Path("run").exists()
    done = call_cli(*TINY)
    assert [found[2] for found in LINE.findall(done.stdout)] == ["2 models"]
    assert done.stdout.index("2 models on") < done.stdout.index("2 models to train and score")
    assert not LINE.findall(call_cli(*TINY).stdout)  # nothing is left
    next(Path("run").glob("cells/*lico*/done.json")).unlink()
    again = call_cli(*TINY)
    assert [found[2] for found in LINE.findall(again.stdout)] == ["1 unfinished of 2 models"]


def test_the_sentence_says_what_on_what_and_how_it_is_known(plan):
    message = time_sentence(plan, estimate(plan, 540.0), CPU)
    assert message == "About 9 min for 8 models on the CPU (1 thread, float32), measured in 3 s."
    kept = time_sentence(plan, estimate(plan, 540.0, took_s=0.0), CPU)
    assert kept.endswith(", from the stored calibration.")
    unsure = time_sentence(plan, estimate(plan, 540.0, timed_share=0.5), CPU)
    assert unsure.endswith("measured in 3 s (50% of it not timed).")
    rough = time_sentence(plan, estimate(plan, 20.0, timed_share=0.0), CPU)
    assert rough.startswith("Roughly 20 s for 8 models on")
    side_by_side = time_sentence(plan, estimate(plan, 540.0), replace(CPU, workers=2))
    assert "8 models one after the other on the CPU" in side_by_side


def test_a_long_run_names_what_makes_it_shorter(plan):
    message = time_sentence(plan, estimate(plan, 7200.0), CPU)
    assert "About 2 h 0 min" in message
    assert message.endswith(
        "Shorter: --profile smoke (tests the setup); --datasets cifar10 (60 min); "
        "--seeds 1 (60 min); --limit 32."
    )
    single = make_plan(Suite(datasets=("cifar10",), data="standin", profile="smoke", seeds=1))
    trained = dict.fromkeys(STAGES.values(), 0.0) | {"training": 7200.0}
    spent = estimate(single, 7200.0, by_stage=trained)
    assert "Shorter" not in time_sentence(single, spent, CPU)


def test_what_cannot_be_told_is_one_sentence_and_no_error(tmp_path):
    # An image of this size fits into no memory.
    huge = make_plan(Suite(("cifar10",), data="standin", changes={"image_size": 10_000_000}))
    shown = StringIO()
    console = Console(file=shown, width=80)
    assert print_time(huge, RunFolder(tmp_path / "run"), CPU, console) is None
    assert shown.getvalue().startswith("  The time cannot be estimated: ")
    assert len(shown.getvalue().splitlines()) == 1


@pytest.mark.slow
def test_a_preemption_while_the_time_is_measured_ends_the_run(tmp_path):
    script = f"""
import os, signal, sys
from lico_bench.bench import calibration
def interrupted(*_args):
    os.kill(os.getpid(), signal.SIGTERM)
calibration.TIMERS = dict.fromkeys(calibration.TIMERS, interrupted)
calibration.QUICK_SHARE = 10.0
sys.argv = ["lico-bench", *{TINY!r}]
from lico_bench.cli import main
from tests.cli.own_process import TINY
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 75
    assert "preempted" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path("run").glob("cells/*/model.safetensors"))
