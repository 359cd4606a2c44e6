"""Preemption signals: immediate, deferred, and with the watchdog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lico_bench.bench.interruption import defer_preemption, preemptible, should_stop
from lico_bench.errors import EXIT_PREEMPTED, Preempted

STUBBORN = """
import signal, sys, time
from lico_bench.bench import interruption
interruption.GRACE_S = 0.5
with interruption.preemptible(), interruption.defer_preemption():
    print("ready", flush=True)
    time.sleep(60)
"""


def notify() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def work_at_once(done: list[str]) -> None:
    with preemptible():
        notify()
        time.sleep(5)
        done.append("went on")


def work_deferred(requested: list[bool], then: Callable[[], object] = lambda: None) -> None:
    with preemptible(), defer_preemption():
        requested.append(should_stop())
        notify()
        requested.append(should_stop())
        then()


def test_outside_of_a_training_a_notice_breaks_the_work_off_at_once():
    before = signal.getsignal(signal.SIGTERM)
    done: list[str] = []
    with pytest.raises(Preempted):
        work_at_once(done)
    assert done == []
    assert signal.getsignal(signal.SIGTERM) is before
    assert not should_stop()


def test_a_deferred_notice_waits_for_the_work_to_ask():
    requested: list[bool] = []
    with pytest.raises(Preempted):
        work_deferred(requested)
    assert requested == [False, True]


def test_an_error_of_deferred_work_is_not_hidden_by_the_notice():
    with pytest.raises(ZeroDivisionError):
        work_deferred([], then=lambda: 1 / 0)


def test_a_notice_is_no_error_that_an_except_clause_would_swallow():
    assert not issubclass(Preempted, Exception)


def test_in_another_thread_the_block_changes_nothing():
    seen = []

    def work():
        with preemptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.slow
def test_work_that_does_not_stop_is_ended_by_the_watchdog():
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_PREEMPTED
    assert "did not stop within" in errors
