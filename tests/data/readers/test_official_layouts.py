"""Each reader on a miniature copy whose answers are known, and on the real samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.data import load_dataset
from tests.data import miniatures
from tests.data.miniatures import BORDER, load_real, overlap

WITH_REGIONS = ("aircraft", "cars", "cub200", "flowers", "imagenet")


@pytest.mark.parametrize("name", WITH_REGIONS)
def test_region_lies_on_the_object_of_every_test_image(root: Path, name: str) -> None:
    miniatures.OFFICIAL[name](root)
    data = load_real(root, name, "test", image_size=64)
    assert data.has_regions
    assert (overlap(data) > 1 - BORDER).all()


def test_user_dataset_needs_a_card_and_nothing_else(root: Path) -> None:
    (root / "shapes.toml").write_text(
        'title = "Shapes"\nclass_names = ["ring", "bar"]\nimage_size = 24\nfit = "squash"\n'
        'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nlicence = "mine"\ncitation = "none"\n'
        "official_counts = { train = 6, test = 2 }\n"
        '[layout]\nreader = "class_folders"\nmarkers = []\nexpects = "train/<class>/*"\n'
    )
    for split, count in (("train", 3), ("test", 1)):
        for name in ("ring", "bar"):
            for i in range(count):
                miniatures.paint(root / "shapes" / split / name / f"{i}.jpg")
    data = load_real(root, "shapes", "train")
    assert data.labels.tolist() == [1, 1, 1, 0, 0, 0]  # folders by name, numbers by card
    assert data.image_size == (24, 24)
    assert data.notes == ()


REAL = {
    # name: train, test, official train, official test, has regions in test
    "cifar10": (10_000, 2_000, 50_000, 10_000, False),
    "cifar100": (4_000, 800, 50_000, 10_000, False),
    "svhn": (288, 57, 73_257, 26_032, False),
    "imagenet": (1_000, 1_000, 1_281_167, 50_000, True),
    "cub200": (300, 243, 5_994, 5_794, True),
    "cars": (588, 196, 8_144, 8_041, False),
    "flowers": (2_040, 6_149, 2_040, 6_149, False),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_sample_is_read_whole(real_data: Path, name: str) -> None:
    train, test, official_train, official_test, has_regions = REAL[name]
    for split, count, official in (("train", train, official_train), ("test", test, official_test)):
        data = load_dataset(name, split, root=real_data, source="real", image_size=32)
        assert (data.found_count, data.official_count) == (count, official)
        some = range(0, len(data), max(1, len(data) // 20))
        images = data.read(some)
        assert 0.05 < float(images.mean()) < 0.95
        assert float(images.std()) > 0.05
    assert data.has_regions == has_regions
    if has_regions:
        assert float(data.read_regions(some).float().mean()) > 0.2
