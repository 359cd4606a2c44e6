"""Tasks on nodes: the check of a node, and the status files by which a task ends for another."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lico_bench.bench import Plan, make_plan
from lico_bench.bench.executors import ray_tasks
from lico_bench.bench.executors.ray_session import check_node, one_line
from lico_bench.bench.executors.ray_tasks import (
    FOLDER,
    MARKER,
    MISSES,
    Outcome,
    StatusBoard,
    StatusReporter,
    TaskContext,
    new_attempt,
    score_on_node,
    software_versions,
    train_on_node,
)
from lico_bench.errors import EXIT_PREEMPTED, ClusterError
from lico_bench.store import RunFolder


@pytest.fixture
def plan(suite) -> Plan:
    return make_plan(suite)


@pytest.fixture
def task_context(tmp_path: Path) -> TaskContext:
    run = tmp_path / "run"
    StatusBoard(run / FOLDER).open()
    (run / FOLDER / MARKER).write_text("ours")
    return TaskContext(run, "cpu", 1, {}, token="ours", software=software_versions())


def test_a_machine_that_sees_the_folder_leaves_its_mark(plan, task_context):
    assert check_node(plan, task_context, "seen-1") is None
    assert (task_context.board.path / "seen-1").is_file()


def test_a_machine_without_the_folder_says_so(plan, task_context):
    elsewhere = replace(task_context, run=task_context.run.parent / "not_mounted")
    assert "the run folder cannot be read there" in check_node(plan, elsewhere, "seen-1")


def test_a_machine_with_another_folder_at_the_path_says_so(plan, task_context):
    (task_context.board.path / MARKER).write_text("theirs")
    assert "another folder is at" in check_node(plan, task_context, "seen-1")


def test_a_machine_with_other_programs_names_the_difference(plan, task_context):
    other = replace(task_context, software=software_versions().replace("torch ", "torch 1.0+"))
    message = check_node(plan, other, "seen-1")
    assert "it has torch " in message
    assert "torch 1.0+" in message
    assert "numpy" not in message


def test_a_machine_without_the_images_says_so(plan, task_context):
    recipe = replace(plan.cells[0].recipe, source="real")
    real = replace(plan, root=task_context.run, cells=(replace(plan.cells[0], recipe=recipe),))
    assert check_node(real, task_context, "seen-1") is not None


def test_a_plan_travels(plan):
    there = pickle.loads(pickle.dumps(plan))
    assert there == plan
    assert there.key == plan.key
    assert there.cells[0].entry() == plan.cells[0].entry()


def test_a_task_on_a_machine_that_came_later_refuses_another_folder(plan, task_context):
    (task_context.board.path / MARKER).write_text("theirs")
    with pytest.raises(ClusterError, match=r"another folder .* every node needs"):
        train_on_node(plan, plan.cells[0].key, task_context)


def test_a_run_that_stops_starts_no_task(plan, task_context):
    task_context.board.request_stop()
    assert train_on_node(plan, plan.cells[0].key, task_context) == Outcome(is_done=False)
    assert not (task_context.run / "cells").exists()


@pytest.mark.slow
def test_a_task_whose_run_stops_stores_its_training_and_ends(suite, task_context, monkeypatch):
    monkeypatch.setattr(ray_tasks, "REPORT_EVERY_S", 0.005)
    monkeypatch.setattr(ray_tasks.torch, "set_num_threads", lambda _number: None)  # this process's
    plan = make_plan(replace(suite, changes={**suite.changes, "epochs": 1000}))
    cell = RunFolder(task_context.run).cell(plan.cells[0].key)

    def stop() -> None:
        while not cell.checkpoint.is_file():
            time.sleep(0.005)
        task_context.board.request_stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert train_on_node(plan, plan.cells[0].key, task_context) == Outcome(is_done=False)
    thread.join()
    assert cell.checkpoint.is_file()
    assert not cell.model.exists()
    assert not cell.failed


def test_a_cell_whose_training_failed_is_not_scored(plan, task_context):
    failed, trained = Outcome(is_done=False), Outcome(is_done=True)
    key = plan.cells[0].key
    assert score_on_node(plan, key, task_context, failed, trained) == failed
    assert not RunFolder(task_context.run).cell(key).failed


def test_a_cell_whose_scorer_failed_is_recorded_as_blocked(suite, task_context):
    plan = make_plan(replace(suite, scorer="lico"))
    baseline = plan.cells[0]
    outcome = score_on_node(
        plan, baseline.key, task_context, Outcome(is_done=True), Outcome(is_done=False)
    )
    assert not outcome.is_done
    assert RunFolder(task_context.run).cell(baseline.key).failed
    assert outcome.messages[0][0] == baseline.title
    assert "FAILED in scoring" in outcome.messages[0][1]


class TaskError(Exception):
    """As Ray raises it where a task raised."""

    cause = ImportError()


def test_the_line_shown_of_an_error_is_the_one_that_tells():
    message = "\x1b[36mray::check_node()\x1b[39m (pid=1)\n  File x\nImportError: no lico_bench\n"
    assert one_line(TaskError(message)) == "ImportError: no lico_bench"
    assert one_line(Exception("\x1b[31mnode died\x1b[0m\nmore")) == "node died"
    assert one_line(KeyError()) == "KeyError"


@pytest.fixture
def board(tmp_path: Path, monkeypatch) -> StatusBoard:
    monkeypatch.setattr(ray_tasks, "REPORT_EVERY_S", 0.005)
    made = StatusBoard(tmp_path / "run" / ".tasks")
    made.open()
    return made


@pytest.fixture
def ends(monkeypatch) -> list[int]:
    """Exit codes with which this process was to end at once."""
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    return found


def soon(is_so: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(is_so())


def test_progress_is_told_on_the_board_and_taken_down(board):
    with StatusReporter(board, new_attempt("cell", "training")) as status_reporter:
        assert board.read("cell", "training") == status_reporter.status
        status_reporter.advance(3, 8)
        assert soon(lambda: board.read("cell", "training") == status_reporter.status)
        assert [(t.done, t.total) for t in board.read_all()] == [(3, 8)]
    board.remove("cell", "training")
    assert not list(board.read_all())


def test_a_stage_that_another_attempt_has_taken_ends_at_once(board, ends):
    with StatusReporter(board, new_attempt("cell", "training")):
        board.write(new_attempt("cell", "scoring"))
        time.sleep(0.05)
        assert not ends
        board.write(new_attempt("cell", "training"))
        assert soon(lambda: EXIT_PREEMPTED in ends)


def test_a_task_whose_run_is_gone_ends_but_not_for_one_missed_look(board, ends, monkeypatch):
    message = new_attempt("cell", "training")
    looks: list[int] = []  # misses that were seen before the end
    answers = iter([*[None] * (MISSES - 1), message, *[None] * MISSES])

    def look(_path: Path) -> object:
        looks.append(len(ends))
        return next(answers, message)

    monkeypatch.setattr(ray_tasks, "_read", look)
    with StatusReporter(board, message):
        assert soon(lambda: len(looks) > 2 * MISSES)
    assert looks[: 2 * MISSES] == [0] * 2 * MISSES
    assert ends == [EXIT_PREEMPTED]


def test_a_run_that_stops_sends_each_task_one_notice(board, monkeypatch):
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    with StatusReporter(board, new_attempt("cell", "training")):
        board.request_stop()
        assert soon(lambda: sent)
        time.sleep(0.05)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_a_new_board_is_empty_and_a_closed_one_is_no_error(board):
    board.write(new_attempt("cell", "training"))
    board.request_stop()
    board.open()
    assert not board.is_stopping
    assert not list(board.read_all())
    board.close()
    board.close()
    board.request_stop()
    board.remove("cell", "training")
    assert not board.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cell": 1}', "null", "\x00"])
def test_what_is_no_tasks_word_is_not_heard(board, text):
    (board.path / "cell.training.json").write_text(text)
    assert board.read("cell", "training") is None
    assert not list(board.read_all())
