"""A full disk raises a DiskFullError that names the file, and leaves no partial files."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError, DiskFullError, LicoBenchError
from lico_bench.store import RunFolder, merge_parquet, write_bytes, write_json, write_parquet

LIMIT = 64 * 1024  # bytes: less than any of the files below
NUMBERS = np.random.default_rng(0).random(30_000)  # incompressible


def write_checkpoint(path: Path) -> None:
    RunFolder(path.parent).cell(path.name).write_checkpoint(NUMBERS.tobytes())


WRITERS = {
    "bytes": lambda path: write_bytes(path, NUMBERS.tobytes()),
    "json": lambda path: write_json(path, NUMBERS.tolist()),
    "parquet": lambda path: write_parquet(path, pd.DataFrame({"value": NUMBERS})),
    "checkpoint": write_checkpoint,
}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limit the size of files to `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_is_an_error_of_ours_and_the_old_file_stays(small_disk, writer):
    path = small_disk / "file"
    if writer != "checkpoint":
        write_bytes(path, b"old")
    before = content(small_disk)
    message = r"not enough disk space to write it \(No space left on device\)"
    with pytest.raises(DiskFullError, match=message):
        WRITERS[writer](path)
    after = content(small_disk)
    assert {n: c for n, c in after.items() if not n.endswith(".sha256")} == before


@pytest.mark.parametrize("writer", WRITERS)
def test_file_over_a_limit_is_an_error_of_ours_and_nothing_stays(tmp_path, writer):
    with files_of_at_most(LIMIT), pytest.raises(DiskFullError, match="free some space and repeat"):
        WRITERS[writer](tmp_path / "file")
    assert [name for name in content(tmp_path) if not name.endswith(".sha256")] == []


def test_merge_on_a_full_disk_does_not_blame_its_parts(tmp_path):
    write_parquet(tmp_path / "part", pd.DataFrame({"value": NUMBERS}))
    with files_of_at_most(LIMIT), pytest.raises(DiskFullError) as caught:
        merge_parquet([tmp_path / "part"], tmp_path / "whole")
    assert not isinstance(caught.value, BrokenFileError)
    assert isinstance(caught.value, LicoBenchError)
    assert list(content(tmp_path)) == ["part"]


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "folder", b"x")
