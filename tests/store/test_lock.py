from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lico_bench.bench.interruption import preemptible
from lico_bench.errors import LicoBenchError, Preempted, RunBusyError
from lico_bench.store.lock import LOCK, RunLock, lock_holder

# Another process that takes the lock, prints "held" and keeps the lock until its stdin ends.
# It does not import the package, which is slow.
HOLDER = """
import fcntl, json, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, json.dumps({"host": "elsewhere", "pid": os.getpid(), "since": "noon"}).encode())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_gets_the_holder_and_the_remedies(tmp_path, holder):
    expected = rf"\(elsewhere, process {holder.pid}, since noon\) is using .*--wait.*--out"
    with pytest.raises(RunBusyError, match=expected) as caught, RunLock(tmp_path):
        pass
    assert isinstance(caught.value, LicoBenchError)
    assert str(holder.pid) in lock_holder(tmp_path)


def test_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).read_text()  # the content of the file does not matter
    with RunLock(tmp_path) as lock:
        assert lock.is_exclusive


def test_waiting_ends_when_the_other_process_does(tmp_path, holder):
    messages: list[str] = []

    def note(message: str) -> None:
        messages.append(message)
        holder.kill()

    with RunLock(tmp_path, wait=True, note=note) as lock:
        assert lock.is_exclusive
    assert len(messages) == 1
    assert "waiting for it" in messages[0]


@pytest.mark.usefixtures("holder")
def test_a_preemption_notice_ends_the_waiting(tmp_path):
    notice = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    lock = RunLock(tmp_path, wait=True, note=lambda _sentence: notice.start())
    with pytest.raises(Preempted), preemptible(), lock:
        pass


@pytest.mark.parametrize("jump_s", [-1e9, 1e9])
def test_jumping_clock_gives_the_lock_to_nobody(tmp_path, holder, monkeypatch, jump_s):
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + jump_s)
    os.utime(tmp_path / LOCK, (1.7e9 - jump_s,) * 2)
    with pytest.raises(RunBusyError), RunLock(tmp_path):
        pass
    assert holder.poll() is None


def test_lock_says_who_holds_it_while_it_is_held_and_nothing_after(tmp_path):
    folder = tmp_path / "results" / "run"
    with RunLock(folder):
        assert f"process {os.getpid()}" in lock_holder(folder)
        before = (folder / LOCK).read_bytes()
        assert before
    assert lock_holder(folder) == ""
    assert (folder / LOCK).read_bytes() == b""
    with RunLock(folder):
        pass


def test_lock_is_released_on_error(tmp_path):
    def fail() -> None:
        with RunLock(tmp_path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not lock_holder(tmp_path)


def test_child_process_does_not_keep_the_lock(tmp_path):
    with RunLock(tmp_path):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        assert not lock_holder(tmp_path)
    finally:
        child.kill()
        child.wait()


def test_file_system_without_locks_is_reported_and_the_run_continues(tmp_path, monkeypatch):
    def refuse(_handle: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    messages: list[str] = []
    with RunLock(tmp_path, note=messages.append) as lock:
        assert not lock.is_exclusive
    assert "has no locks" in messages[0]


def test_lock_holder_writes_nothing(tmp_path: Path):
    assert lock_holder(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
