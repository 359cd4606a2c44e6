"""Flowers-102 and its three lists."""

from __future__ import annotations

from pathlib import Path

from tests.data import miniatures
from tests.data.miniatures import load_real


def test_flowers_trains_on_both_official_training_lists(root: Path) -> None:
    miniatures.flowers(root)
    train, test = load_real(root, "flowers", "train"), load_real(root, "flowers", "test")
    assert (len(train), len(test)) == (16, 8)
    assert train.image_ids[:3] == ("image_00001", "image_00002", "image_00004")
    assert train.labels[:3].tolist() == [0, 1, 1]
