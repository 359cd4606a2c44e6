"""Files of a run folder: atomic writes, checksums, checks of paths, and quarantine.

A file is written to a temporary name, synced and renamed, so that it is complete or absent. Files
of killed processes keep their temporary names; file times do not tell which these are, because
clocks jump and differ between machines. Only the holder of the run's lock writes below `cells`, so
it may remove all temporary files there. A `report` writes elsewhere without the lock. Its temporary
files carry host and process id, and are removed when that process has ended, which can be checked
on the same host only. Temporary files of other hosts are kept; they are small and never read.

A sealed JSON file holds the digest of its other values. This module imports neither pandas nor
pyarrow, so that commands can check paths before they load anything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lico_bench.errors import BrokenFileError, DiskFullError, MissingDataError
from lico_bench.store.codec import REMEDY, JsonObject, T, decode, encode_value
from lico_bench.store.run_records import FileFacts

# Disk full, quota exceeded, file size limit exceeded.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MANIFEST = "manifest.json"
DAMAGED = "damaged"  # folder of quarantined files
SEAL = "seal"  # key in a JSON file of the digest of its other values
STALE_FILES = (".*.part", ".*.old")  # a temporary file; a folder that was being replaced
_OWNER = re.compile(r"\.(?P<host>\w+)-(?P<pid>[0-9]+)\.[^.]*\.(part|old)$")


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Convert out-of-space errors of the system into a `DiskFullError` that names `path`."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFullError(
            f"{path}: not enough disk space to write it ({os.strerror(error.errno)}); free some "
            "space and repeat the same command, which resumes from the stored files"
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds, else is removed.

    Raises:
        DiskFullError: if the disk is full; an existing `path` is kept.
    """
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=part_prefix(path.name), suffix=".part", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)  # mkstemp makes it private; a run folder is shared by a team
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by atomic rename."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write `value`, a record or plain JSON values, as indented JSON by atomic rename.

    Raises:
        ValueError: for NaN or infinity.
    """
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return `value` encoded as in `write_json`."""
    text = json.dumps(encode_value(value), indent=2, sort_keys=True, allow_nan=False)
    return f"{text}\n".encode()


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(f"no such file: {path}") from error
    # Including integers with too many digits (ValueError) and deep nesting (RecursionError).
    except (ValueError, RecursionError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from error


def read_record(kind: type[T], path: Path, *, remedy: str = REMEDY) -> T:
    """Return the record of class `kind` in a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is not JSON, or does not match the class; it then ends in `remedy`.
    """
    return decode(kind, read_json(path), path, remedy=remedy)


def write_sealed(path: Path, record: Mapping[str, object]) -> None:
    """Write a JSON table with the digest of its content under `seal`."""
    write_json(path, sealed(record))


def read_sealed(path: Path, *, remedy: str) -> JsonObject:
    """Return the values of a sealed JSON table without the seal.

    First versions wrote no seal, and recorded no `files`.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is not JSON, or does not match its seal; it then ends in `remedy`.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not _has_valid_seal(content):
        raise BrokenFileError(f"{path}: does not match its checksum; {remedy}")
    return {name: value for name, value in content.items() if name != SEAL}


def sealed(record: Mapping[str, object]) -> JsonObject:
    """Return `record` with the digest of its content under `seal`."""
    content = {name: value for name, value in record.items() if name != SEAL}
    # Hash the JSON text, so that tuples and keys compare as they are read back.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**content, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def _has_valid_seal(record: Mapping[str, object]) -> bool:
    if SEAL not in record:
        return "files" not in record
    try:
        return sealed(record) == record
    except (ValueError, RecursionError):  # an infinite number, which is never written
        return False


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_facts(path: Path) -> FileFacts:
    """Return checksum and size of a file."""
    return FileFacts(sha256=file_digest(path), bytes=path.stat().st_size)


def split_side(text: str) -> tuple[Path, str | None]:
    """Split `RUN` or `RUN:ARM` into the folder and the arm, None if no arm is named."""
    folder, colon, arm = text.rpartition(":")
    if colon and arm and not Path(text).is_dir():
        return Path(folder), arm
    return Path(text), None


def check_is_run(folder: Path) -> None:
    """Raise unless `folder` has a manifest.

    Raises:
        MissingDataError: if it has no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingDataError(
            f"{folder} is not a run folder (no {MANIFEST}); name one written by `lico-bench run`"
        )


def check_inside(root: Path, path: Path) -> None:
    """Raise if `path` is outside `root` or is reached through a link; `root` may be a link.

    Raises:
        BrokenFileError: naming the link.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise BrokenFileError(
                f"{part}: expected a file or folder of this run, got a link; replace the link by "
                "its target, or remove it"
            )
    raise BrokenFileError(f"{path}: expected a path inside {root}; {REMEDY}")


def part_prefix(name: str) -> str:
    """Return the prefix of temporary files for `name`, with host and process id."""
    return f".{name}.{_host()}-{os.getpid()}."


def remove_stale_files(folder: Path, *, alone: bool = True) -> None:
    """Remove temporary files of killed processes from a run folder.

    Args:
        alone: whether the run's lock is held, so that no other process writes below `cells`.
    """
    cells = folder / "cells"
    for path in [found for pattern in STALE_FILES for found in folder.rglob(pattern)]:
        if (alone and cells in path.parents) or _is_abandoned(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    owner = _OWNER.search(path.name)
    return (
        owner is not None and owner["host"] == _host() and not is_process_alive(int(owner["pid"]))
    )


def is_process_alive(pid: int) -> bool:
    """Return whether a process with this id runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # a process of another user, or an invalid id: keep the file
    return True


def _host() -> str:
    return re.sub(r"\W", "_", os.uname().nodename)


@dataclass(frozen=True)
class Damage:
    """A damaged, missing or foreign file of a run folder."""

    file: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def quarantine(root: Path, path: Path) -> Path:
    """Move a file or folder of the run at `root` to RUN/damaged without overwriting anything.

    Returns:
        The path in RUN/damaged, also if `path` does not exist.
    """
    target = quarantine_path(root, path)
    if path.exists() or path.is_symlink():
        check_inside(root, target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return target


def quarantine_path(root: Path, path: Path) -> Path:
    """Return an unused path for `path` in RUN/damaged, numbered if the name is taken."""
    relative = path.relative_to(root)
    relative = Path(*relative.parts[1:]) if relative.parts[0] == "cells" else relative
    target, number = root / DAMAGED / relative, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = target.with_name(f"{relative.name}.{number}")
    return target
