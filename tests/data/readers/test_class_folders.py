"""Folders named by class, which serve every dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lico_bench.data import card_names, load_card, load_dataset
from lico_bench.errors import BrokenFileError
from tests.data import miniatures
from tests.data.miniatures import load_real


@pytest.mark.parametrize("name", card_names())
def test_class_folders_serve_every_dataset(root: Path, name: str) -> None:
    miniatures.class_folders(root, name, ("train", "test"))
    data = load_real(root, name, "train")
    assert torch.bincount(data.labels)[:3].tolist() == [3, 3, 3]
    assert data.image_ids[0].startswith("train/")


def test_class_folders_may_bear_ids_and_val_serves_as_test(root: Path) -> None:
    folder = miniatures.class_folders(root, "flowers", ("train", "val"))
    for number, name in enumerate(load_card("flowers").class_names[:3], start=1):
        (folder / "val" / name).rename(folder / "val" / str(number))
    data = load_real(root, "flowers", "test")
    assert torch.bincount(data.labels)[:3].tolist() == [3, 3, 3]
    assert any("val folder serves as test" in note for note in data.notes)


def test_own_val_folder_is_the_validation_split(root: Path) -> None:
    miniatures.class_folders(root, "cifar10", ("train", "val", "test"))
    data = load_real(root, "cifar10", "val")
    assert len(data) == 9
    assert all(name.startswith("val/") for name in data.image_ids)


def test_class_folder_of_an_unknown_class_is_named(root: Path) -> None:
    folder = miniatures.class_folders(root, "cifar10", ("train", "test"))
    (folder / "train" / "zeppelin").mkdir()
    with pytest.raises(BrokenFileError, match="unknown class 'zeppelin' of CIFAR-10"):
        load_dataset("cifar10", "train", root=root)
