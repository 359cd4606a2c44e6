"""The lock of a run folder, which allows one process at a time.

The lock is a kernel lock (`flock`) on RUN/lock. The kernel releases it when the process ends, also
after kill -9, and no clock is involved. The content of the file (machine, process, start time) is
only shown to users. The lock works between machines if the shared file system supports it (NFS with
its lock service, Lustre mounted with `flock`, GPFS, CephFS). Otherwise the run continues without a
lock and reports that: writes are still atomic and two runs of one suite write the same files, but
both do the work, and temporary files of the other process are not removed.

The package filelock names no holder, and without `flock` its marker file stays after kill -9.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from lico_bench.errors import BrokenFileError, MissingDataError, RunBusyError
from lico_bench.store.codec import encode
from lico_bench.store.files import NO_SPACE, naming_full_disk, read_record

LOCK = "lock"
POLL_S = 0.2
# O_NOFOLLOW: the lock file is truncated, and a link could lead to any file.
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
LOCK_HELD = (errno.EAGAIN, errno.EACCES)
LOCK_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock: machine, process id and start time."""

    host: str
    pid: int
    since: str


def _ignore(_message: str) -> None:
    """Drop the message."""


class RunLock:
    """Context manager that locks a run folder; a missing folder is created.

    Args:
        wait: wait for another process instead of raising.
        note: receives a message when the lock waits or the file system does not support locks.

    Attributes:
        is_exclusive: whether the lock is held; False if the file system does not support locks.

    Raises:
        RunBusyError: on entry, if another process holds the lock.
        DiskFullError: on entry, if the disk is full.
    """

    def __init__(
        self,
        root: Path,
        *,
        wait: bool = False,
        note: Callable[[str], None] = _ignore,
    ) -> None:
        self.path = root / LOCK
        self.is_exclusive = False
        self._wait = wait
        self._note = note
        self._handle = -1

    def __enter__(self) -> RunLock:
        with naming_full_disk(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not inherited: a child that outlives this process must not keep the lock.
            self._handle = self._open()
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
        # Truncated, not removed: waiting processes have the file open.
        if self.is_exclusive:
            os.ftruncate(self._handle, 0)
        os.close(self._handle)

    def _open(self) -> int:
        try:
            return os.open(self.path, LOCK_FLAGS, 0o644)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            raise BrokenFileError(
                f"{self.path}: cannot be opened as the lock of this run ({error.strerror}); "
                "remove it if it is a link or a folder, or fix its permissions"
            ) from error

    def _take(self) -> None:
        is_reported = False
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in LOCK_UNSUPPORTED:
                    self._note(
                        f"{self.path.parent}: this file system has no locks; make sure that no "
                        "other process uses this folder"
                    )
                    return
                if error.errno not in LOCK_HELD:
                    raise
            else:
                self.is_exclusive = True
                return
            busy = f"another process ({_holder_text(self.path)}) is using {self.path.parent}"
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
        holder = Holder(socket.gethostname(), os.getpid(), since)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(encode(holder)).encode(), 0)


def _holder_text(path: Path) -> str:
    """Return the machine, process and start time that a lock file names."""
    try:
        holder = read_record(Holder, path)
    except (BrokenFileError, MissingDataError):
        return "unknown machine and process"
    return f"{holder.host}, process {holder.pid}, since {holder.since}"


def lock_holder(root: Path) -> str:
    """Return a description of the process that holds the lock of a run folder, or "".

    Neither takes the lock nor writes a file.
    """
    try:
        handle = os.open(root / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return _holder_text(root / LOCK) if error.errno in LOCK_HELD else ""
    finally:
        os.close(handle)
    return ""
