"""One process at a time works on a run folder.

The lock is the kernel's, on RUN/lock: it is gone when its holder is, also after kill -9, and no
clock decides anything. What is written in the file (machine, process, since when) is for people.
On a shared file system it holds between machines where the file system has locks (NFS with its lock
service, Lustre mounted with `flock`, GPFS, CephFS). Where it has none, the run goes on unlocked and
says so: every file still appears whole and two runs of one suite write the same, but both do the
work, and what the other one has half-written is not cleared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from lico_bench.errors import BrokenFileError, RunBusyError
from lico_bench.store.files import NO_SPACE, naming_full_disk

LOCK = "lock"
POLL_S = 0.2
# A link in its place could lead to any file, which would be emptied.
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
TAKEN = (errno.EAGAIN, errno.EACCES)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def _silent(_sentence: str) -> None:
    """Tell nobody."""


class RunLock:
    """Holds a run folder while the block lasts; the folder is made if it is not there.

    Args:
        wait: wait for another process instead of raising.
        note: is told a sentence when it waits, or when the file system has no locks.

    Attributes:
        is_exclusive: whether no other process can hold the folder.

    Raises:
        RunBusyError: on entry, if another process holds the folder.
        DiskFullError: on entry, if there is no room for the lock's file.
    """

    def __init__(
        self,
        root: Path,
        *,
        wait: bool = False,
        note: Callable[[str], None] = _silent,
    ) -> None:
        self.path = root / LOCK
        self.is_exclusive = False
        self._wait = wait
        self._note = note
        self._handle = -1

    def __enter__(self) -> RunLock:
        with naming_full_disk(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not inherited: a child that lives on must not hold the folder.
            self._handle = self._opened()
        try:
            self._take()
            with naming_full_disk(self.path):
                self._write_holder()
        except BaseException:
            os.close(self._handle)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Emptied and not removed: who waits for it has it open.
        if self.is_exclusive:
            os.ftruncate(self._handle, 0)
        os.close(self._handle)

    def _opened(self) -> int:
        try:
            return os.open(self.path, LOCK_FLAGS, 0o644)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            raise BrokenFileError(
                f"{self.path}: cannot be opened as the lock of this run ({error.strerror}); "
                "remove it if it is a link or a folder, or mend its permissions"
            ) from error

    def _take(self) -> None:
        is_reported = False
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in NO_LOCKS:
                    self._note(
                        f"{self.path.parent}: this file system has no locks; see to it that no "
                        "other process works on this folder"
                    )
                    return
                if error.errno not in TAKEN:
                    raise
            else:
                self.is_exclusive = True
                return
            busy = f"another process ({holder_of(self.path)}) is at work on {self.path.parent}"
            if not self._wait:
                raise RunBusyError(f"{busy}; wait for it (--wait), or choose another --out")
            if not is_reported:
                self._note(f"{busy}; waiting for it")
                is_reported = True
            time.sleep(POLL_S)

    def _write_holder(self) -> None:
        if not self.is_exclusive:
            return
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(holder).encode(), 0)


def holder_of(path: Path) -> str:
    """Who wrote a lock's file, for people."""
    try:
        holder: Any = json.loads(path.read_text(encoding="utf-8"))
        return f"{holder['host']}, process {holder['pid']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has not said who it is"


def is_held(root: Path) -> str:
    """Who is at work on a run folder; empty if nobody is. Takes nothing and writes nothing."""
    try:
        handle = os.open(root / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return holder_of(root / LOCK) if error.errno in TAKEN else ""
    finally:
        os.close(handle)
    return ""
