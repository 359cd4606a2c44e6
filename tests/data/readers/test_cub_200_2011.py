"""CUB-200-2011: lists, boxes and masks."""

from __future__ import annotations

from pathlib import Path

from tests.data import miniatures
from tests.data.miniatures import BORDER, load_real, overlap


def test_cub_masks_are_preferred_to_boxes(root: Path) -> None:
    miniatures.cub200(root, masks=True)
    data = load_real(root, "cub200", "test", image_size=64)
    assert any("regions are masks" in note for note in data.notes)
    assert (overlap(data) > 1 - BORDER).all()


def test_cub_split_and_labels_follow_the_lists(root: Path) -> None:
    miniatures.cub200(root)
    train, test = load_real(root, "cub200", "train"), load_real(root, "cub200", "test")
    assert [int(i[-4:]) for i in test.image_ids] == [3, 6, 9, 12]
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert not set(train.image_ids) & set(test.image_ids)
