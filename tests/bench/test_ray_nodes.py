"""What a machine says when it is asked whether it can run the cells."""

from __future__ import annotations

import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lico_bench.bench import Plan, make_plan
from lico_bench.bench.executors import ray_board, ray_tasks
from lico_bench.bench.executors.ray_board import FOLDER, Board
from lico_bench.bench.executors.ray_nodes import look_around, one_line
from lico_bench.bench.executors.ray_tasks import (
    MARKER,
    Outcome,
    Post,
    identity,
    score_on_node,
    train_on_node,
)
from lico_bench.errors import ClusterError
from lico_bench.store import RunFolder


@pytest.fixture
def plan(suite) -> Plan:
    return make_plan(suite)


@pytest.fixture
def post(tmp_path: Path) -> Post:
    run = tmp_path / "run"
    Board(run / FOLDER).open()
    (run / FOLDER / MARKER).write_text("ours")
    return Post(run, "cpu", 1, {}, token="ours", programs=identity())


def test_a_machine_that_sees_the_folder_leaves_its_mark(plan, post):
    assert look_around(plan, post, "seen-1") is None
    assert (post.board.path / "seen-1").is_file()


def test_a_machine_without_the_folder_says_so(plan, post):
    elsewhere = replace(post, run=post.run.parent / "not_mounted")
    assert "the run folder cannot be read there" in look_around(plan, elsewhere, "seen-1")


def test_a_machine_with_another_folder_at_the_path_says_so(plan, post):
    (post.board.path / MARKER).write_text("theirs")
    assert "another folder is at" in look_around(plan, post, "seen-1")


def test_a_machine_with_other_programs_names_the_difference(plan, post):
    other = replace(post, programs=identity().replace("torch ", "torch 1.0+"))
    told = look_around(plan, other, "seen-1")
    assert "it has torch " in told
    assert "torch 1.0+" in told
    assert "numpy" not in told


def test_a_machine_without_the_pictures_says_so(plan, post):
    recipe = replace(plan.cells[0].recipe, source="real")
    real = replace(plan, root=post.run, cells=(replace(plan.cells[0], recipe=recipe),))
    assert look_around(real, post, "seen-1") is not None


def test_a_plan_travels(plan):
    there = pickle.loads(pickle.dumps(plan))
    assert there == plan
    assert there.key == plan.key
    assert there.cells[0].facts() == plan.cells[0].facts()


def test_a_task_on_a_machine_that_came_later_refuses_another_folder(plan, post):
    (post.board.path / MARKER).write_text("theirs")
    with pytest.raises(ClusterError, match=r"another folder .* every node needs"):
        train_on_node(plan, plan.cells[0].key, post)


def test_a_run_that_stops_starts_no_task(plan, post):
    post.board.ask_to_stop()
    assert train_on_node(plan, plan.cells[0].key, post) == Outcome(is_done=False)
    assert not (post.run / "cells").exists()


@pytest.mark.slow
def test_a_task_whose_run_stops_stores_its_training_and_ends(suite, post, monkeypatch):
    monkeypatch.setattr(ray_board, "TELL_EVERY_S", 0.005)
    monkeypatch.setattr(ray_tasks.torch, "set_num_threads", lambda _number: None)  # this process's
    plan = make_plan(replace(suite, changes={**suite.changes, "epochs": 1000}))
    cell = RunFolder(post.run).cell(plan.cells[0].key)

    def stop() -> None:
        while not cell.checkpoint.is_file():
            time.sleep(0.005)
        post.board.ask_to_stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert train_on_node(plan, plan.cells[0].key, post) == Outcome(is_done=False)
    thread.join()
    assert cell.checkpoint.is_file()
    assert not cell.model.exists()
    assert not cell.failed


def test_a_cell_whose_training_failed_is_not_scored(plan, post):
    failed, trained = Outcome(is_done=False), Outcome(is_done=True)
    key = plan.cells[0].key
    assert score_on_node(plan, key, post, failed, trained) == failed
    assert not RunFolder(post.run).cell(key).failed


def test_a_cell_whose_scorer_failed_is_recorded_as_blocked(suite, post):
    plan = make_plan(replace(suite, scorer="lico"))
    baseline = plan.cells[0]
    outcome = score_on_node(plan, baseline.key, post, Outcome(is_done=True), Outcome(is_done=False))
    assert not outcome.is_done
    assert RunFolder(post.run).cell(baseline.key).failed
    assert outcome.said[0][0] == baseline.title
    assert "FAILED in scoring" in outcome.said[0][1]


class TaskError(Exception):
    """As Ray raises it where a task raised."""

    cause = ImportError()


def test_the_line_shown_of_an_error_is_the_one_that_tells():
    told = "\x1b[36mray::look_around()\x1b[39m (pid=1)\n  File x\nImportError: no lico_bench\n"
    assert one_line(TaskError(told)) == "ImportError: no lico_bench"
    assert one_line(Exception("\x1b[31mnode died\x1b[0m\nmore")) == "node died"
    assert one_line(KeyError()) == "KeyError"
