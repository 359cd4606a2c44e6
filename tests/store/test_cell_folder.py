from __future__ import annotations

import shutil
import subprocess

import pytest

from lico_bench.store.cell_folder import KEPT_DIGESTS, read_sidecar, sidecar_text
from lico_bench.store.files import file_digest


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
