"""What loading a dataset promises: contract, splits, fingerprints, broken images."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import ImageFile

from lico_bench.bench import Suite, make_plan
from lico_bench.data import (
    describe_dataset,
    image_files,
    load_dataset,
    verify_dataset,
)
from lico_bench.data.image_files import ArrayImages, FileImages
from lico_bench.data.readers import digest_of
from lico_bench.errors import InvalidInputError, MissingDataError
from tests.data import miniatures
from tests.data.miniatures import load_real

LAYOUTS = sorted(miniatures.OFFICIAL)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("source", ["real", "standin"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_dataset_keeps_the_contract(root: Path, name: str, source: str, split: str) -> None:
    if source == "real":
        miniatures.OFFICIAL[name](root)
    data = load_dataset(name, split, root=root, source=source, image_size=32)
    images = data.read(range(4))
    assert images.shape == (4, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert data.labels.dtype == torch.int64
    assert data.labels.shape == (len(data),) == (len(data.image_ids),)
    assert 0 <= int(data.labels.min()) <= int(data.labels.max()) < data.num_classes
    assert len(set(data.image_ids)) == len(data)
    assert data.image_size == (32, 32)
    assert data.source == source
    assert data.num_classes == len(data.class_names) == len(data.prompt_names)
    if data.has_regions:
        regions = data.read_regions([3, 1])
        assert regions.shape == (2, 32, 32)
        assert regions.dtype == torch.bool
        assert regions.flatten(1).any(1).all()
        objects = data.read_instances([3, 1])
        assert torch.equal(torch.stack([each.any(0) for each in objects]), regions)
        assert source == "real" or [len(each) for each in objects] == [1, 1]
    else:
        assert data.regions is None
        assert not data.has_instances
        with pytest.raises(InvalidInputError, match="localisation"):
            data.read_regions([0])
        with pytest.raises(InvalidInputError, match="localisation"):
            data.read_instances([0])


@pytest.mark.parametrize("name", LAYOUTS)
def test_loading_twice_gives_the_same_and_another_size_another_fingerprint(
    root: Path, name: str
) -> None:
    miniatures.OFFICIAL[name](root)
    one, two = load_real(root, name), load_real(root, name)
    assert one.fingerprint == two.fingerprint
    assert one.image_ids == two.image_ids
    assert load_real(root, name, image_size=16).fingerprint != one.fingerprint
    assert load_real(root, name, "test").fingerprint != one.fingerprint


@pytest.mark.parametrize("name", ["imagenet", "cub200", "cars", "aircraft", "flowers"])
def test_changed_image_changes_the_fingerprint(root: Path, name: str) -> None:
    folder = miniatures.OFFICIAL[name](root)
    before = load_real(root, name).fingerprint
    for image in sorted(folder.rglob("*.[jJ][pP]*")):
        image.write_bytes(image.read_bytes() + b" ")
    assert load_real(root, name).fingerprint != before


def test_changed_pixel_changes_the_fingerprint_of_an_array_dataset(root: Path) -> None:
    folder = miniatures.cifar10(root)
    before = load_real(root, "cifar10").fingerprint
    batch = pickle.loads((folder / "data_batch_3").read_bytes())
    batch["data"][7, 1000] ^= 1
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch))
    assert load_real(root, "cifar10").fingerprint != before


def test_validation_is_drawn_from_train_and_never_from_test(root: Path) -> None:
    miniatures.cifar10(root)
    whole = load_real(root, "cifar10")
    train = load_real(root, "cifar10", holdout=0.2)
    val = load_real(root, "cifar10", "val", holdout=0.2)
    assert set(train.image_ids) | set(val.image_ids) == set(whole.image_ids)
    assert not set(train.image_ids) & set(val.image_ids)
    assert not set(val.image_ids) & set(load_real(root, "cifar10", "test").image_ids)
    assert torch.bincount(val.labels).tolist() == [2] * 10
    other = load_real(root, "cifar10", "val", holdout=0.2, seed=1)
    assert set(other.image_ids) != set(val.image_ids)


def test_a_hold_out_is_of_train_although_the_copy_has_a_validation_split(root: Path) -> None:
    miniatures.class_folders(root, "cifar10", ("train", "val", "test"))
    whole = load_real(root, "cifar10")
    train, held = (load_real(root, "cifar10", split, holdout=0.4) for split in ("train", "val"))
    assert sorted([*train.image_ids, *held.image_ids]) == sorted(whole.image_ids)
    official = load_real(root, "cifar10", "val")
    assert not set(official.image_ids) & set(held.image_ids)


def test_validation_without_its_share_says_what_to_pass(root: Path) -> None:
    miniatures.cifar10(root)
    with pytest.raises(InvalidInputError, match=r"holdout=0\.1"):
        load_real(root, "cifar10", "val")


def test_label_budget_keeps_that_many_of_each_class(root: Path) -> None:
    miniatures.cifar10(root)
    few = load_real(root, "cifar10", labels=40)
    assert torch.bincount(few.labels).tolist() == [4] * 10
    whole = load_real(root, "cifar10")
    place = [whole.image_ids.index(image_id) for image_id in few.image_ids]
    assert torch.equal(few.images, whole.read(place))
    assert few.fingerprint != whole.fingerprint


def test_label_budget_of_the_test_split_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="applies to the train split only"):
        load_dataset("cifar10", "test", root=root, source="standin", labels=40)


def test_limit_leaves_the_first_of_each_class(root: Path) -> None:
    miniatures.imagenet(root)
    data = load_real(root, "imagenet", limit=7)
    assert torch.bincount(data.labels)[:3].tolist() == [3, 2, 2]
    assert data.found_count == 18


def test_incomplete_copies_are_told(root: Path) -> None:
    miniatures.cub200(root)
    data = load_real(root, "cub200")
    assert "CUB-200-2011: 8 of 5,994 train images found" in data.notes
    assert "CUB-200-2011: 2 of 200 classes have train images" in data.notes
    assert (data.found_count, data.official_count) == (8, 5994)


def test_without_official_test_a_fixed_fifth_of_train_serves(root: Path) -> None:
    folder = miniatures.svhn(root)
    (folder / "test_32x32.mat").unlink()
    train, test = load_real(root, "svhn"), load_real(root, "svhn", "test")
    assert train.test_from_train
    assert test.test_from_train
    assert not set(train.image_ids) & set(test.image_ids)
    assert (len(train), len(test)) == (20, 10)  # three of each class: one is held out
    assert any("10 of the 30 training images" in note for note in test.notes)
    assert load_real(root, "svhn", "test", seed=5).image_ids == test.image_ids
    held = load_real(root, "svhn", "val", holdout=0.5, limit=3)
    assert not set(held.image_ids) & set(test.image_ids)


def test_only_a_test_split_can_be_tested_but_not_trained_on(root: Path) -> None:
    folder = miniatures.svhn(root)
    (folder / "train_32x32.mat").unlink()
    assert len(load_real(root, "svhn", "test")) == 30
    with pytest.raises(MissingDataError, match=r"no training images"):
        load_real(root, "svhn")


def test_skipping_broken_images_records_each(root: Path) -> None:
    folder = miniatures.cub200(root)
    images = sorted((folder / "images").rglob("*.jpg"))
    images[0].write_bytes(b"")
    images[1].unlink()
    data = load_real(root, "cub200", skip_broken=True)
    assert len(data) == 6
    assert sum("Bird_0001" in note or "Bird_0002" in note for note in data.notes) == 2
    assert data.images.shape[0] == len(data.regions) == 6  # type: ignore[arg-type]


def test_a_dataset_is_described_without_opening_its_images(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniatures.imagenet(root)
    train, test = load_real(root, "imagenet"), load_real(root, "imagenet", "test")
    monkeypatch.setattr(image_files, "Image", None)
    facts = describe_dataset("imagenet", root=root)
    assert facts.fingerprint == digest_of([train.fingerprint, test.fingerprint])
    assert facts.found == {"train": (18, 1_281_167), "test": (6, 50_000)}
    assert facts.notes == tuple(dict.fromkeys([*train.notes, *test.notes]))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the image files whose pixels Pillow decodes, empty for bytes; once per decoding."""
    names: list[str] = []
    prepare = ImageFile.ImageFile.load_prepare

    def record(image: ImageFile.ImageFile) -> None:
        names.append(str(image.filename))
        prepare(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", record)
    return names


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_plan_decodes_and_loads_no_image(
    root: Path, name: str, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    miniatures.OFFICIAL[name](root)
    opened: list[object] = []
    for source in (ArrayImages, FileImages):
        monkeypatch.setattr(source, "stream", lambda self, *_: opened.append(self))
        monkeypatch.setattr(source, "take", lambda self, *_: opened.append(self))
    monkeypatch.setattr(ArrayImages, "pixels", property(opened.append))
    plan = make_plan(Suite(datasets=(name,), seeds=1, profile="smoke", data="real"), root=root)
    assert plan.datasets[name].num_images("test") > 0
    assert decoded == opened == []
    monkeypatch.undo()
    assert plan.datasets[name].fingerprint == digest_of(
        load_real(root, name, split, image_size=plan.datasets[name].image_size[0]).fingerprint
        for split in ("train", "test")
    )


@pytest.mark.parametrize("name", ["imagenet", "cub200"])
def test_planning_and_loading_with_broken_images_decode_each_file_once(
    root: Path, name: str, decoded: list[str]
) -> None:
    files = sorted(miniatures.OFFICIAL[name](root).rglob("*.[jJ][pP]*"))
    files[0].write_bytes(b"")
    files[-1].write_bytes(files[-1].read_bytes()[:-200])
    decoded.clear()
    facts = describe_dataset(name, root=root, skip_broken=True)
    assert sorted(decoded) == sorted(str(file) for file in files[1:])
    train, test = (load_real(root, name, split, skip_broken=True) for split in ("train", "test"))
    load_real(root, name, holdout=0.2, skip_broken=True)
    assert len(decoded) == len(files) - 1
    assert facts.fingerprint == digest_of([train.fingerprint, test.fingerprint])
    assert facts.notes == tuple(dict.fromkeys([*train.notes, *test.notes]))
    assert sum("cannot be decoded" in note for note in facts.notes) == 2


def test_broken_images_of_equal_splits_keep_their_own_names(root: Path, decoded: list[str]) -> None:
    folder = miniatures.hub_parquet(root, "cifar10")
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        images = [*table["img"].to_pylist()[:9], {"bytes": b"broken", "path": "9.jpg"}]
        pq.write_table(pa.table({"img": images, "label": table["label"]}), path)
    decoded.clear()
    facts = describe_dataset("cifar10", root=root, skip_broken=True)
    for split in ("train", "test"):
        load_real(root, "cifar10", split, skip_broken=True)
        assert any(note.startswith(f"{split}/00009: cannot be") for note in facts.notes)
    assert len(decoded) == 18


def test_a_file_that_breaks_after_planning_is_skipped_when_loaded(root: Path) -> None:
    folder = miniatures.cub200(root)
    assert describe_dataset("cub200", root=root, skip_broken=True).num_images("train") == 8
    file = folder / "images" / (load_real(root, "cub200").image_ids[0][4:] + ".jpg")
    stat = file.stat()
    file.write_bytes(bytes(stat.st_size))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(load_real(root, "cub200", skip_broken=True)) == 7
    assert sum(len(part.broken) for part in verify_dataset("cub200", root=root).splits) == 1


def test_planted_cue_of_real_images_is_refused(root: Path) -> None:
    miniatures.svhn(root)
    with pytest.raises(InvalidInputError, match="stand-ins only"):
        load_real(root, "svhn", variant="planted_cue")


def test_unknown_split_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="train, val, test"):
        load_dataset("cifar10", "training")
