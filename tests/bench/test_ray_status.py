"""Status files of Ray tasks, and when a task ends for another attempt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lico_bench.bench.executors import ray_status
from lico_bench.bench.executors.ray_status import MISSES, StatusBoard, StatusReporter, new_attempt
from lico_bench.errors import EXIT_PREEMPTED


@pytest.fixture
def board(tmp_path: Path, monkeypatch) -> StatusBoard:
    monkeypatch.setattr(ray_status, "REPORT_EVERY_S", 0.005)
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

    monkeypatch.setattr(ray_status, "_read", look)
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
