"""FGVC-Aircraft: the credit strip and the official lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lico_bench.data import load_card, load_dataset
from tests.data import miniatures
from tests.data.miniatures import load_real


def test_aircraft_credit_strip_is_cut_off(root: Path) -> None:
    folder = miniatures.aircraft(root)
    before = load_real(root, "aircraft", "test", image_size=64).images
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.load()
            marked = image.copy()
        marked.paste((255, 255, 255), (0, miniatures.HEIGHT, miniatures.WIDTH, marked.height))
        marked.save(path, "JPEG", quality=95, subsampling=0)
    after = load_real(root, "aircraft", "test", image_size=64).images
    assert (after - before).abs().max() < 0.15  # JPEG once more, and no white rows
    assert after[:, :, -1].max() < 0.5


@pytest.mark.real_data
def test_real_aircraft_lists_have_the_official_counts_and_no_images(real_data: Path) -> None:
    base = real_data / "aircraft" / "fgvc-aircraft-2013b" / "data"
    card = load_card("aircraft")
    counts = [
        len((base / f"images_variant_{s}.txt").read_text().splitlines())
        for s in ("trainval", "test")
    ]
    assert counts == [card.official_counts["train"], card.official_counts["test"]]
    assert load_dataset("aircraft", "test", root=real_data).source == "standin"
