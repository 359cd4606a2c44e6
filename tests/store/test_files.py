from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import (
    merge_parquet,
    read_json,
    read_parquet,
    write_bytes,
    write_json,
    write_parquet,
)
from lico_bench.store.digests import PARQUET_KEY
from lico_bench.store.files import atomic_write


def test_frame_comes_back_as_it_was_written(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.5, np.nan], "list": [[1.0], [2.0, 3.0]]})
    write_parquet(tmp_path / "rows.parquet", frame)
    back = read_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(back[["name", "value"]], frame[["name", "value"]])
    assert [list(values) for values in back["list"]] == frame["list"].tolist()


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


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_truncated_parquet_is_named_with_a_remedy(tmp_path, keep):
    path = tmp_path / "rows.parquet"
    write_parquet(path, pd.DataFrame({"value": np.arange(1000.0)}))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        BrokenFileError, match=r"rows\.parquet: damaged or not a Parquet file; delete it"
    ):
        read_parquet(path)


def test_foreign_bytes_are_no_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_text("pair,cell\n1,2\n")
    with pytest.raises(BrokenFileError, match="damaged or not a Parquet file"):
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


def mixed_frame() -> pd.DataFrame:
    """Return texts, numbers, bools, lists and bytes, as in rows, curves and galleries."""
    return pd.DataFrame(
        {
            "cell": ["c"] * 20,
            "image_id": [f"image {i}" for i in range(20)],
            "value": np.random.default_rng(0).random(20),
            "target": np.arange(20, dtype=np.int32),
            "correct": [True, False] * 10,
            "values": [np.linspace(0, 1, 3, dtype=np.float32)] * 20,
            "image_png": [b"png", None] * 10,
        }
    )


@pytest.mark.parametrize("every", [31, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_table_is_detected_or_harmless(tmp_path, every):
    path = tmp_path / "rows.parquet"
    write_parquet(path, mixed_frame())
    whole, expected = path.read_bytes(), read_parquet(path)
    undetected, num_detected = [], 0
    for offset in range(0, len(whole), every):
        path.write_bytes(flipped(whole, offset))
        try:
            pd.testing.assert_frame_equal(read_parquet(path), expected)
        except BrokenFileError:
            num_detected += 1
        except AssertionError:
            undetected.append(offset)
    assert not undetected
    # Except in the key of the digest; a file without it counts as one of an older version.
    assert num_detected > 0.98 * len(range(0, len(whole), every))


def flipped(content: bytes, offset: int) -> bytes:
    """Return `content` with one bit of the byte at `offset` flipped."""
    damaged = bytearray(content)
    damaged[offset] ^= 1 << (offset % 8)
    return bytes(damaged)


def test_pages_of_a_table_without_a_digest_still_have_their_checksums(tmp_path):
    path = tmp_path / "rows.parquet"
    write_parquet(path, mixed_frame())
    without = path.read_bytes().replace(PARQUET_KEY.encode(), b"x" * len(PARQUET_KEY))
    path.write_bytes(without)
    assert len(read_parquet(path)) == 20
    page = without.index(b"\x28\xb5\x2f\xfd") + 12  # zstd's magic number: the first page's data
    path.write_bytes(flipped(without, page))
    with pytest.raises(BrokenFileError):
        read_parquet(path)


def test_table_of_a_version_without_checksums_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    mixed_frame().to_parquet(path)
    assert read_parquet(path)["value"].tolist() == mixed_frame()["value"].tolist()


def test_merged_tables_do_not_depend_on_when_their_parts_were_written(tmp_path):
    parts = [tmp_path / f"{n}.parquet" for n in "ab"]
    for part in parts:
        write_parquet(part, mixed_frame())
    assert merge_parquet(parts, tmp_path / "one.parquet") == 40
    write_parquet(parts[0], mixed_frame())
    merge_parquet(parts, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_damaged_part_is_not_merged(tmp_path):
    part = tmp_path / "a.parquet"
    write_parquet(part, mixed_frame())
    part.write_bytes(flipped(part.read_bytes(), 60))
    with pytest.raises(BrokenFileError, match="cannot merge the stored parts"):
        merge_parquet([part], tmp_path / "whole.parquet")
    assert not (tmp_path / "whole.parquet").exists()
