"""`lico-bench data` on copies that are whole, broken and absent."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from lico_bench.cli import main

NAMES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip


def call(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["lico-bench", "data", *words])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def write_cifar10(root: Path, num_images: int = 20) -> Path:
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, 3072), dtype=np.uint8)
    labels = [i % 10 for i in range(num_images)]
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {
            "data": pixels,
            "labels": labels,
            "filenames": [f"{name}_{i}.png" for i in range(num_images)],
            "batch_label": name,
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    return folder


def test_verify_counts_a_copy(tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "verify", "cifar10", "--data-root", str(tmp_path))
    assert code == 0
    assert "train: 100 of 50,000 images, 0 broken" in out
    assert "test: 20 of 10,000 images, 0 broken" in out


def test_verify_names_a_truncated_batch(tmp_path, monkeypatch, capsys):
    batch = write_cifar10(tmp_path) / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:500])
    code, out, err = call(monkeypatch, capsys, "verify", "cifar10", "--data-root", str(tmp_path))
    assert code in (2, 7)
    assert "data_batch_3" in out + err


def test_where_says_what_is_expected(tmp_path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "where", "cub200", "--data-root", str(tmp_path))
    assert code == 0
    assert "CUB_200_2011/" in out
    assert "nothing" in out


def test_fetch_prints_the_steps_where_no_program_may_fetch(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "fetch", "imagenet")
    assert code == 0
    assert "by hand" in out
    assert "1. " in out


@pytest.mark.parametrize("command", ["fetch", "verify", "where"])
def test_an_unknown_dataset_names_the_nearest(command: str, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, command, "cifar11")
    assert code == 2
    assert "did you mean 'cifar10'?" in err


@pytest.mark.parametrize("name", ["cifar10", "cub200", "svhn"])
@pytest.mark.real_data
def test_verify_finds_the_real_samples_whole(name: str, real_data, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "verify", name, "--data-root", str(real_data))
    assert code == 0
    assert "0 broken" in out
