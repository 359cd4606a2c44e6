from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError
from lico_bench.store import merge_parquet, read_parquet, write_parquet
from lico_bench.store.parquet import PARQUET_KEY, has_valid_stamp


def test_frame_comes_back_as_it_was_written(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.5, np.nan], "list": [[1.0], [2.0, 3.0]]})
    write_parquet(tmp_path / "rows.parquet", frame)
    back = read_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(back[["name", "value"]], frame[["name", "value"]])
    assert [list(values) for values in back["list"]] == frame["list"].tolist()


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


def test_stamp_is_the_digest_of_the_file_with_zeros_in_its_place(tmp_path):
    path = tmp_path / "rows.parquet"
    write_parquet(path, pd.DataFrame({"value": [0.5]}))
    content = path.read_bytes()
    start = content.rindex(b"lico_bench.sha256") + len(b"lico_bench.sha256") + 2
    stamp = content[start : start + 64]
    zeroed = content[:start] + b"0" * 64 + content[start + 64 :]
    assert stamp.decode() == hashlib.sha256(zeroed).hexdigest()
    assert has_valid_stamp(path)
    path.write_bytes(zeroed)
    assert not has_valid_stamp(path)


def test_same_table_is_the_same_file(tmp_path):
    for name in "ab":
        write_parquet(tmp_path / name, pd.DataFrame({"value": [0.5], "text": ["x"]}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
