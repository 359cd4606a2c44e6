from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.data import verify_dataset
from lico_bench.errors import MissingDataError
from tests.data import miniatures


@pytest.mark.parametrize("name", sorted(miniatures.OFFICIAL))
def test_whole_copy_is_sound_but_known_to_be_incomplete(root: Path, name: str) -> None:
    miniatures.OFFICIAL[name](root)
    report = verify_dataset(name, root=root)
    assert report.is_sound
    assert [part.split for part in report.splits] == ["train", "test"]
    assert all(0 < part.found_count < part.official_count for part in report.splits)


def test_every_broken_and_missing_image_is_named_once(root: Path) -> None:
    folder = miniatures.cub200(root, masks=True)
    images = sorted((folder / "images").rglob("*.jpg"))
    images[0].write_bytes(b"")
    images[1].unlink()
    masks = sorted((root / "cub200" / "segmentations").rglob("*.png"))
    masks[5].write_bytes(b"nothing")
    seen: list[tuple[int, int]] = []
    report = verify_dataset("cub200", root=root, progress=lambda *done: seen.append(done))
    broken = [sentence for part in report.splits for sentence in part.broken]
    assert len(broken) == 3
    for path in (images[0], images[1], masks[5]):
        assert sum(str(path) in sentence for sentence in broken) == 1
    assert not report.is_sound
    assert seen[-1] == (11, 11)
    assert sum(part.found_count for part in report.splits) == 11


def test_nothing_to_verify_says_where_it_looked(root: Path) -> None:
    with pytest.raises(MissingDataError, match="no images found in"):
        verify_dataset("cub200", root=root)


@pytest.mark.real_data
def test_real_cub_sample_is_sound(real_data: Path) -> None:
    report = verify_dataset("cub200", root=real_data)
    assert report.is_sound
    assert [(p.split, p.found_count, p.num_regions) for p in report.splits] == [
        ("train", 300, 300),
        ("test", 243, 243),
    ]
