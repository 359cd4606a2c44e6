from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lico_bench.store.stale_files import part_prefix, remove_stale_files


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
