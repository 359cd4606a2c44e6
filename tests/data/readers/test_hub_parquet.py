"""Parquet files as the hub writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lico_bench.data import load_card, load_dataset
from lico_bench.errors import BrokenFileError
from tests.data import miniatures
from tests.data.miniatures import load_real


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_hub_parquet_is_read_with_its_own_class_names(root: Path, name: str) -> None:
    miniatures.hub_parquet(root, name, names=list(load_card(name).class_names))
    data = load_real(root, name, "test", image_size=64)
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert data.read([0]).shape == (1, 3, 64, 64)


@pytest.mark.real_data
def test_complete_cifar10_in_the_hubs_form_agrees_with_the_official_counts(
    real_data: Path,
) -> None:
    folder = real_data / "cifar10_full"
    data = load_dataset("cifar10", "test", root=folder, source="real")
    assert len(data) == data.official_count == 10_000
    assert torch.bincount(data.labels).tolist() == [1_000] * 10
    assert not data.notes


def test_parquet_of_another_dataset_is_refused(root: Path) -> None:
    miniatures.hub_parquet(root, "cifar10", names=["cat", "dog"])
    with pytest.raises(BrokenFileError, match="expected 10 class names"):
        load_dataset("cifar10", "train", root=root)


def test_damaged_parquet_is_named(root: Path) -> None:
    folder = miniatures.hub_parquet(root, "cifar10")
    path = folder / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BrokenFileError, match=r"train-00000-of-00001\.parquet: not a readable"):
        load_dataset("cifar10", "train", root=root)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"picture": [b"x"], "label": [0]}, "expected a column img or image"),
        ({"img": [b"x"]}, "expected a column fine_label"),
        ({"img": [{"bytes": None, "path": "a.jpg"}], "label": [0]}, "expected an encoded image"),
        ({"img": [b"x"], "label": [10]}, "outside the 10 classes"),
    ],
)
def test_parquet_with_other_columns_says_what_is_expected(
    root: Path, columns: dict[str, list[object]], complaint: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "cifar10").mkdir()
    pq.write_table(pa.table(columns), root / "cifar10" / "train-00000-of-00001.parquet")
    with pytest.raises(BrokenFileError, match=complaint):
        load_dataset("cifar10", "train", root=root)
