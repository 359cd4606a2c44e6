"""Each reader on a miniature copy whose answers are known, and on the real samples."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from lico_bench.data import card_names, load_card, load_dataset
from lico_bench.data.dataset import Dataset
from tests.data import miniatures

WITH_REGIONS = ("aircraft", "cars", "cub200", "flowers", "imagenet")
BORDER = 0.12  # share of the region that interpolation and JPEG blur at its border


def load(root: Path, name: str, split: str, **options: object) -> Dataset:
    return load_dataset(name, split, root=root, source="real", **options)  # type: ignore[arg-type]


def overlap(data: Dataset) -> torch.Tensor:
    """Intersection over union of each image's red rectangle and its region."""
    images = data.images
    red = (images[:, 0] > 0.5) & (images[:, 1] < 0.4)
    regions = data.read_regions(range(len(data)))
    return (red & regions).sum((1, 2)) / (red | regions).sum((1, 2))


@pytest.mark.parametrize("name", WITH_REGIONS)
def test_region_lies_on_the_object_of_every_test_image(root: Path, name: str) -> None:
    miniatures.OFFICIAL[name](root)
    data = load(root, name, "test", image_size=64)
    assert data.has_regions
    assert (overlap(data) > 1 - BORDER).all()


def test_cub_masks_are_preferred_to_boxes(root: Path) -> None:
    miniatures.cub200(root, masks=True)
    data = load(root, "cub200", "test", image_size=64)
    assert any("regions are masks" in note for note in data.notes)
    assert (overlap(data) > 1 - BORDER).all()


def test_cifar_pixels_and_labels_are_those_of_the_batches(root: Path) -> None:
    folder = miniatures.cifar10(root)
    data = load(root, "cifar10", "train")
    batch = pickle.loads((folder / "data_batch_2").read_bytes())
    # Rows hold 1024 red, 1024 green and 1024 blue values, line by line.
    expected = batch["data"][3].reshape(3, 32, 32) / np.float32(255)
    assert torch.equal(data.read([23])[0], torch.from_numpy(expected))
    assert data.labels[20:40].tolist() == batch["labels"]
    assert data.image_ids[23] == "train/00023"


def test_svhn_label_ten_is_digit_zero_and_axes_are_in_place(root: Path) -> None:
    folder = miniatures.svhn(root)
    stored = scipy.io.loadmat(folder / "train_32x32.mat")
    data = load(root, "svhn", "train")
    assert data.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    image = stored["X"][:, :, :, 4]
    assert torch.equal(
        (data.read([4])[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
        torch.from_numpy(image),
    )
    assert data.prompt_names[0] == "zero"


def test_imagenet_labels_follow_the_card_and_not_the_folders_present(root: Path) -> None:
    folder = miniatures.imagenet(root)
    wnid = load_card("imagenet").class_ids[700]
    miniatures.paint(folder / "val" / wnid / "ILSVRC2012_val_00009999.JPEG")
    data = load(root, "imagenet", "test")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 700]
    # The image without an annotation is skipped by its empty region, the others are not.
    regions = data.read_regions(range(7)).flatten(1).any(1)
    assert regions.tolist() == [True] * 6 + [False]


@pytest.mark.parametrize("truth", ["csv", "list", "kit"])
def test_imagenet_validation_in_one_folder_takes_labels_from_its_index(
    root: Path, truth: str
) -> None:
    folder = miniatures.imagenet(root)
    in_folders = load(root, "imagenet", "test", image_size=32)
    expected = dict(zip(in_folders.image_ids, in_folders.labels.tolist(), strict=True))
    rows = sorted((f.stem, f.parent.name) for f in (folder / "val").rglob("*.JPEG"))
    for file in list((folder / "val").rglob("*.JPEG")):
        file.rename(folder / "val" / file.name)
    if truth == "csv":
        lines = [f"{name},{wnid} 30 20 66 44 " for name, wnid in rows]
        (folder / "LOC_val_solution.csv").write_text(
            "\n".join(["ImageId,PredictionString", *lines]) + "\n"
        )
        for file in (folder / "Annotations").rglob("*.xml"):
            file.unlink()
        (folder / "Annotations" / "CLS-LOC" / "val").rmdir()
    elif truth == "list":
        lines = [f"{name}.JPEG {wnid}" for name, wnid in rows]
        (folder / "val_ground_truth.txt").write_text("\n".join(lines) + "\n")
    else:
        # The development kit numbers the synsets in a different order.
        kit = folder / "ILSVRC2012_devkit_t12" / "data"
        kit.mkdir(parents=True)
        wnids = sorted({wnid for _, wnid in rows}, reverse=True)
        synsets = np.array(
            [(i + 1, w) for i, w in enumerate(wnids)],
            dtype=[("ILSVRC2012_ID", object), ("WNID", object)],
        )
        scipy.io.savemat(kit / "meta.mat", {"synsets": synsets})
        (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(
            "\n".join(str(wnids.index(wnid) + 1) for _, wnid in rows) + "\n"
        )
    data = load(root, "imagenet", "test", image_size=64)
    assert dict(zip(data.image_ids, data.labels.tolist(), strict=True)) == expected
    assert (overlap(data) > 1 - BORDER).all()


def test_cub_split_and_labels_follow_the_lists(root: Path) -> None:
    miniatures.cub200(root)
    train, test = load(root, "cub200", "train"), load(root, "cub200", "test")
    assert [int(i[-4:]) for i in test.image_ids] == [3, 6, 9, 12]
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert not set(train.image_ids) & set(test.image_ids)


def test_cars_cut_to_their_boxes_offer_no_region(root: Path) -> None:
    folder = miniatures.cars(root)
    left, top, right, bottom = miniatures.BOX
    for image in (folder / "cars_train").iterdir():
        miniatures.paint(image, size=(right - left, bottom - top))
    data = load(root, "cars", "train")
    assert not data.has_regions
    assert any("cut to its boxes" in note for note in data.notes)


def test_aircraft_credit_strip_is_cut_off(root: Path) -> None:
    folder = miniatures.aircraft(root)
    before = load(root, "aircraft", "test", image_size=64).images
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.load()
            marked = image.copy()
        marked.paste((255, 255, 255), (0, miniatures.HEIGHT, miniatures.WIDTH, marked.height))
        marked.save(path, "JPEG", quality=95, subsampling=0)
    after = load(root, "aircraft", "test", image_size=64).images
    assert (after - before).abs().max() < 0.15  # JPEG once more, and no white rows
    assert after[:, :, -1].max() < 0.5


def test_flowers_trains_on_both_official_training_lists(root: Path) -> None:
    miniatures.flowers(root)
    train, test = load(root, "flowers", "train"), load(root, "flowers", "test")
    assert (len(train), len(test)) == (16, 8)
    assert train.image_ids[:3] == ("image_00001", "image_00002", "image_00004")
    assert train.labels[:3].tolist() == [0, 1, 1]


@pytest.mark.parametrize("name", card_names())
def test_class_folders_serve_every_dataset(root: Path, name: str) -> None:
    miniatures.class_folders(root, name, ("train", "test"))
    data = load(root, name, "train")
    assert torch.bincount(data.labels)[:3].tolist() == [3, 3, 3]
    assert data.image_ids[0].startswith("train/")


def test_class_folders_may_bear_ids_and_val_serves_as_test(root: Path) -> None:
    folder = miniatures.class_folders(root, "flowers", ("train", "val"))
    for number, name in enumerate(load_card("flowers").class_names[:3], start=1):
        (folder / "val" / name).rename(folder / "val" / str(number))
    data = load(root, "flowers", "test")
    assert torch.bincount(data.labels)[:3].tolist() == [3, 3, 3]
    assert any("val folder serves as test" in note for note in data.notes)


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
    data = load(root, "shapes", "train")
    assert data.labels.tolist() == [1, 1, 1, 0, 0, 0]  # folders by name, numbers by card
    assert data.image_size == (24, 24)
    assert data.notes == ()


def test_own_val_folder_is_the_validation_split(root: Path) -> None:
    miniatures.class_folders(root, "cifar10", ("train", "val", "test"))
    data = load(root, "cifar10", "val")
    assert len(data) == 9
    assert all(name.startswith("val/") for name in data.image_ids)


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_hub_parquet_is_read_with_its_own_class_names(root: Path, name: str) -> None:
    miniatures.hub_parquet(root, name, names=list(load_card(name).class_names))
    data = load(root, name, "test", image_size=64)
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert data.read([0]).shape == (1, 3, 64, 64)


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


@pytest.mark.real_data
def test_complete_cifar10_in_the_hubs_form_agrees_with_the_official_counts(
    real_data: Path,
) -> None:
    folder = real_data / "cifar10_full"
    data = load_dataset("cifar10", "test", root=folder, source="real")
    assert len(data) == data.official_count == 10_000
    assert torch.bincount(data.labels).tolist() == [1_000] * 10
    assert not data.notes
