"""Stanford Cars, cut to the boxes."""

from __future__ import annotations

from pathlib import Path

from tests.data import miniatures
from tests.data.miniatures import load_real


def test_cars_cut_to_their_boxes_offer_no_region(root: Path) -> None:
    folder = miniatures.cars(root)
    left, top, right, bottom = miniatures.BOX
    for image in (folder / "cars_train").iterdir():
        miniatures.paint(image, size=(right - left, bottom - top))
    data = load_real(root, "cars", "train")
    assert not data.has_regions
    assert any("cut to its boxes" in note for note in data.notes)
