from __future__ import annotations

import hashlib
import shutil
import subprocess

import pandas as pd
import pytest

from lico_bench.store import write_parquet
from lico_bench.store.digests import (
    KEPT_DIGESTS,
    file_digest,
    has_valid_seal,
    has_valid_stamp,
    read_sidecar,
    sealed,
    sidecar_text,
)


def test_digest_is_that_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 10_000  # more than one chunk
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_seal_holds_for_the_same_content_in_any_order_and_breaks_for_another():
    record = sealed({"b": [1, 2.5], "a": {"x": None}})
    assert has_valid_seal(dict(reversed(record.items())))
    assert sealed(record) == record
    assert not has_valid_seal(record | {"b": [1, 2.6]})
    assert not has_valid_seal(record | {"c": 1})
    assert has_valid_seal({"b": 1})  # of a version without seals


def test_sidecar_comes_back_newest_first_and_does_not_grow_without_end():
    digests = [f"{number:064x}" for number in range(KEPT_DIGESTS + 3)]
    lines = sidecar_text({"model.safetensors": [digests[0], *digests]})
    assert len(lines.splitlines()) == KEPT_DIGESTS


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sidecar_is_readable_by_sha256sum(tmp_path):
    (tmp_path / "file").write_text("content")
    text = sidecar_text({"file": [file_digest(tmp_path / "file")]})
    (tmp_path / "file.sha256").write_text(text)
    assert read_sidecar(tmp_path / "file.sha256") == {"file": [file_digest(tmp_path / "file")]}
    command = ["sha256sum", "--check", "file.sha256"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


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
