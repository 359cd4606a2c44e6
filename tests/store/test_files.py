from __future__ import annotations

import os
import time

import numpy as np
import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import read_json, read_parquet, write_bytes, write_json, write_parquet
from lico_bench.store.files import LEFTOVER_AGE_S, replacing, sweep_leftovers


def test_frame_comes_back_as_it_was_written(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.5, np.nan], "list": [[1.0], [2.0, 3.0]]})
    write_parquet(tmp_path / "rows.parquet", frame)
    back = read_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(back[["name", "value"]], frame[["name", "value"]])
    assert [list(one) for one in back["list"]] == frame["list"].tolist()


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
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file.bin"]


def test_file_is_whole_at_every_moment_it_can_be_seen(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with replacing(path) as part:
        part.write_bytes(b"new and longer")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new and longer"


def test_written_file_can_be_read_by_the_team(tmp_path):
    write_bytes(tmp_path / "file.bin", b"x")
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_truncated_parquet_is_named_with_a_remedy(tmp_path, keep):
    path = tmp_path / "rows.parquet"
    write_parquet(path, pd.DataFrame({"value": np.arange(1000.0)}))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        BrokenFileError, match=r"rows\.parquet: not a whole Parquet file; delete it"
    ):
        read_parquet(path)


def test_foreign_bytes_are_no_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_text("pair,cell\n1,2\n")
    with pytest.raises(BrokenFileError, match="not a whole Parquet file"):
        read_parquet(path)


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


def test_only_old_leftovers_are_swept(tmp_path):
    old = time.time() - LEFTOVER_AGE_S - 60
    kept = [tmp_path / "rows.parquet", tmp_path / "cells" / ".rows.parquet.young.part"]
    gone = [tmp_path / "cells" / ".rows.parquet.old.part", tmp_path / ".report.old.part" / "page"]
    for path in kept + gone:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for path in (kept[0], gone[0], gone[1].parent):
        os.utime(path, (old, old))
    sweep_leftovers(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in (gone[0], gone[1].parent))
