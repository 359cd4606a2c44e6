from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import read_json, read_parquet, write_bytes, write_json
from lico_bench.store.files import (
    atomic_write,
    file_digest,
    part_prefix,
    read_sealed,
    remove_stale_files,
    sealed,
    write_sealed,
)


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"ü": True}}
    write_json(tmp_path / "new" / "facts.json", value)
    assert read_json(tmp_path / "new" / "facts.json") == value


def test_nan_in_json_is_refused_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"value": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert read_json(path) == {"value": 1}


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def break_off() -> None:
        with atomic_write(path) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]


def test_file_is_whole_at_every_moment_it_can_be_seen(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with atomic_write(path) as part:
        part.write_bytes(b"new and longer")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new and longer"


def test_written_file_can_be_read_by_the_team(tmp_path):
    write_bytes(tmp_path / "file.bin", b"x")
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("read", [read_json, read_parquet])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(MissingDataError, match="no such file"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe"])
def test_broken_json_is_named(tmp_path, content):
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(BrokenFileError, match=r"facts\.json: not readable as JSON"):
        read_json(path)


def test_seal_holds_for_the_same_content_in_any_order_and_breaks_for_another(tmp_path):
    path = tmp_path / "facts.json"
    facts = {"b": [1, 2.5], "a": {"x": None}}
    write_sealed(path, facts)
    assert read_sealed(path, remedy="") == facts
    record = read_json(path)
    assert record == sealed(dict(reversed(facts.items()))) == sealed(record)
    for changed in (record | {"b": [1, 2.6]}, record | {"c": 1}):
        write_json(path, changed)
        with pytest.raises(BrokenFileError, match="checksum; start again"):
            read_sealed(path, remedy="start again")


def test_only_a_table_that_lists_no_files_needs_no_seal(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"b": 1})  # of a version without seals
    assert read_sealed(path, remedy="") == {"b": 1}
    write_json(path, {"b": 1, "files": {}})
    with pytest.raises(BrokenFileError, match="checksum"):
        read_sealed(path, remedy="")


def test_digest_is_that_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 10_000  # more than one chunk
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def prefix_of_dead_process(name: str) -> str:
    """Return the prefix of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    return part_prefix(name).replace(f"-{os.getpid()}.", f"-{ended.pid}.")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


@pytest.mark.parametrize("age", [-1e9, 0, 1e9])
def test_holder_of_the_lock_removes_all_below_cells_whatever_the_file_times(tmp_path, age):
    kept = put(tmp_path / "cells" / "one" / "rows.parquet")
    mine = put(tmp_path / "cells" / "one" / f"{part_prefix('rows.parquet')}a.part")
    foreign = put(tmp_path / "cells" / "one" / "parts" / ".rows.parquet.elsewhere-7.a.part")
    for path in (kept, mine, foreign):
        os.utime(path, (1.7e9 + age,) * 2)
    remove_stale_files(tmp_path)
    assert kept.exists()
    assert not mine.exists()
    assert not foreign.exists()


def test_temporary_files_outside_cells_are_removed_when_their_process_has_ended(tmp_path):
    dead = prefix_of_dead_process("report")
    gone = [put(tmp_path / f"{dead}a.part" / "page"), put(tmp_path / f"{dead}a.old" / "page")]
    kept = [
        put(tmp_path / f"{part_prefix('report')}a.part" / "page"),  # of a running process
        put(tmp_path / ".report.elsewhere-7.a.part" / "page"),  # of another machine
        put(tmp_path / "notes.part"),  # not a temporary file
    ]
    remove_stale_files(tmp_path)
    assert not any(path.parent.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_without_the_lock_only_files_of_dead_processes_are_removed(tmp_path):
    dead = put(tmp_path / "cells" / f"{prefix_of_dead_process('rows')}a.part")
    foreign = put(tmp_path / "cells" / ".rows.elsewhere-7.a.part")
    remove_stale_files(tmp_path, alone=False)
    assert not dead.exists()
    assert foreign.exists()


def test_link_is_removed_and_not_followed(tmp_path):
    outside = put(tmp_path / "outside" / "thesis.tex")
    link = tmp_path / "run" / "cells" / ".rows.parquet.a-1.x.part"
    link.parent.mkdir(parents=True)
    link.symlink_to(outside.parent)
    remove_stale_files(tmp_path / "run")
    assert outside.exists()
    assert not link.is_symlink()
