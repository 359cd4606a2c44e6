"""Errors for damaged, incomplete or hostile dataset copies name the file and a remedy."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from lico_bench.data import load_dataset
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError
from tests.data import miniatures
from tests.data.miniatures import first_image, load_all

REMEDIES = ("unpack", "restore", "take ", "correct", "remove", "change", "expected", "export",
            "download", "name the folders", "add ")  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """A way to damage a dataset copy, and the text that the error must contain."""

    dataset: str
    what: str
    spoil: Callable[[Path], object]
    named: str
    kind: type[LicoBenchError] = BrokenFileError


class Bomb:
    """A value whose pickle calls a function with a visible effect."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("the-pickle-was-executed",)


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def repickled(name: str, **changes: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        content = pickle.loads((folder / name).read_bytes()) | changes
        (folder / name).write_bytes(pickle.dumps(content))

    return spoil


def remat(name: str, **changes: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        content = {k: v for k, v in scipy.io.loadmat(folder / name).items() if k[0] != "_"}
        scipy.io.savemat(folder / name, content | changes)

    return spoil


def shorter(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-300])


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def empty(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"")


NAMES_ONE_SHORT = np.array(["Rolls", "Royce"], dtype=object)
INDEX_DAMAGES = [
    # CIFAR
    Damage("cifar10", "no meta", gone("batches.meta"), "batches.meta", MissingDataError),
    Damage("cifar10", "no batch", gone("data_batch_2"), "data_batch_2", MissingDataError),
    Damage("cifar10", "empty batch", empty("data_batch_2"), "data_batch_2"),
    Damage("cifar10", "cut batch", shorter("data_batch_2"), "data_batch_2"),
    Damage("cifar10", "not a pickle", lambda f: (f / "batches.meta").write_text("names"),
           "batches.meta"),
    Damage("cifar10", "pickled list", lambda f: (f / "batches.meta").write_bytes(pickle.dumps([1])),
           "batches.meta"),
    Damage("cifar10", "code in meta", repickled("batches.meta", label_names=Bomb()),
           "batches.meta"),
    Damage("cifar10", "code in batch", repickled("data_batch_1", labels=Bomb()), "data_batch_1"),
    Damage("cifar10", "label too large", repickled("data_batch_1", labels=[10] * 20),
           "data_batch_1"),
    Damage("cifar10", "label below zero", repickled("data_batch_1", labels=[-1] * 20),
           "data_batch_1"),
    Damage("cifar10", "fewer labels", repickled("data_batch_1", labels=[0]), "data_batch_1"),
    Damage("cifar10", "other keys", repickled("test_batch", data=None), "test_batch"),
    Damage("cifar10", "other class", repickled("batches.meta", label_names=["cat"] * 10),
           "batches.meta"),
    Damage("cifar10", "fewer classes", repickled("batches.meta", label_names=["airplane"]),
           "batches.meta"),
    Damage("cifar100", "no names", repickled("meta", fine_label_names=None), "meta"),
    Damage("cifar100", "label too large", repickled("train", fine_labels=[100] * 200), "train"),
    # SVHN
    Damage("svhn", "cut file", shorter("train_32x32.mat"), "train_32x32.mat"),
    Damage("svhn", "empty file", empty("train_32x32.mat"), "train_32x32.mat"),
    Damage("svhn", "label too large", remat("train_32x32.mat", y=np.full((30, 1), 11)),
           "train_32x32.mat"),
    Damage("svhn", "fewer labels", remat("train_32x32.mat", y=np.ones((5, 1))),
           "train_32x32.mat"),
    Damage("svhn", "no labels", lambda f: scipy.io.savemat(f / "train_32x32.mat", {"X": [1]}),
           "train_32x32.mat"),
    # ImageNet
    Damage("imagenet", "foreign folder", lambda f: (f / "train" / "n00000000").mkdir(),
           "n00000000"),
    # CUB
    Damage("cub200", "no images.txt", gone("images.txt"), "images.txt", MissingDataError),
    Damage("cub200", "no split", gone("train_test_split.txt"), "train_test_split.txt",
           MissingDataError),
    Damage("cub200", "empty labels", empty("image_class_labels.txt"), "image_class_labels.txt"),
    Damage("cub200", "binary list", lambda f: (f / "images.txt").write_bytes(b"\xff\xfe\x00\xd8"),
           "images.txt"),
    Damage("cub200", "fewer classes", lambda f: (f / "classes.txt").write_text("1 001.Bird\n"),
           "classes.txt"),
    Damage("cub200", "other class", replace("classes.txt", "Laysan_Albatross", "Dodo"),
           "classes.txt"),
    Damage("cub200", "label too large", replace("image_class_labels.txt", "1 1", "1 201"),
           "images.txt, line 1"),
    Damage("cub200", "label no number", replace("image_class_labels.txt", "1 1", "1 x"),
           "images.txt, line 1"),
    Damage("cub200", "label missing", replace("image_class_labels.txt", "1 1\n", ""),
           "images.txt, line 1"),
    Damage("cub200", "parent path", replace("images.txt", "001.Black", "../001.Black"),
           "images.txt, line 1"),
    Damage("cub200", "absolute path", replace("images.txt", "001.Black", "/etc/001.Black"),
           "images.txt, line 1"),
    Damage("cub200", "torn line", replace("images.txt", "1 001.Black", "1"), "images.txt, line 1"),
    Damage("cub200", "torn box", replace("bounding_boxes.txt", "1 30.0", "1 "),
           "bounding_boxes.txt, line 1"),
    Damage("cub200", "listed twice", replace("images.txt", "Bird_0002", "Bird_0001"), "Bird_0001"),
    # Cars
    Damage("cars", "no meta", gone("devkit/cars_meta.mat"), "cars_meta.mat", MissingDataError),
    Damage("cars", "no list", gone("devkit/cars_train_annos.mat"), "cars_train_annos.mat",
           MissingDataError),
    Damage("cars", "cut list", shorter("devkit/cars_train_annos.mat"), "cars_train_annos.mat"),
    Damage("cars", "fewer classes", remat("devkit/cars_meta.mat", class_names=NAMES_ONE_SHORT),
           "cars_meta.mat"),
    Damage("cars", "other fields", remat("devkit/cars_train_annos.mat", annotations=np.ones(3)),
           "cars_train_annos.mat"),
    Damage("cars", "label too large",
           lambda f: miniatures.write_cars_list(f, "train", label=197), "cars_train_annos.mat"),
    Damage("cars", "parent path",
           lambda f: miniatures.write_cars_list(f, "train", name="../../secret.jpg"),
           "cars_train_annos.mat"),
    # Aircraft
    Damage("aircraft", "no list", gone("images_variant_trainval.txt"),
           "images_variant_trainval.txt", MissingDataError),
    Damage("aircraft", "fewer classes", lambda f: (f / "variants.txt").write_text("707-320\n"),
           "variants.txt"),
    Damage("aircraft", "other variant",
           replace("images_variant_trainval.txt", " 707-320", " Zeppelin"),
           "images_variant_trainval.txt, line 1"),
    Damage("aircraft", "parent path",
           replace("images_variant_trainval.txt", "0000000 ", "../0000000 "),
           "images_variant_trainval.txt, line 1"),
    Damage("aircraft", "torn box", replace("images_box.txt", "0000000 31", "0000000"),
           "images_box.txt, line 1"),
    # Flowers
    Damage("flowers", "no labels", gone("imagelabels.mat"), "imagelabels.mat", MissingDataError),
    Damage("flowers", "no split", gone("setid.mat"), "setid.mat", MissingDataError),
    Damage("flowers", "label too large", remat("imagelabels.mat", labels=np.full((1, 24), 103)),
           "imagelabels.mat, image 1"),
    Damage("flowers", "fewer labels", remat("imagelabels.mat", labels=np.ones((1, 3))),
           "setid.mat"),
    Damage("flowers", "words for numbers", remat("setid.mat", trnid=np.array(["a", "b"])),
           "setid.mat"),
    Damage("flowers", "torn names",
           lambda f: (f.parent / "cat_to_name.json").write_text('{"1": '), "cat_to_name.json"),
    Damage("flowers", "other names",
           lambda f: (f.parent / "cat_to_name.json").write_text('{"1": "dandelion"}'),
           "cat_to_name.json"),
]  # fmt: skip
IMAGE_DATASETS = ("aircraft", "cars", "cub200", "flowers", "imagenet")
IMAGE_DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "empty": lambda p: p.write_bytes(b""),
    "no image": lambda p: p.write_text("<html>404</html>"),
}


@pytest.mark.parametrize("damage", INDEX_DAMAGES, ids=lambda d: f"{d.dataset}-{d.what}")
def test_damaged_index_is_refused_with_its_name_and_a_remedy(root: Path, damage: Damage) -> None:
    folder = miniatures.OFFICIAL[damage.dataset](root)
    damage.spoil(folder)
    with pytest.raises(damage.kind) as caught:
        load_all(root, damage.dataset)
    message = str(caught.value)
    assert damage.named in message
    assert any(remedy in message for remedy in REMEDIES), message
    assert "\n" not in message
    assert not Path("the-pickle-was-executed").exists()


@pytest.mark.parametrize("name", IMAGE_DATASETS)
@pytest.mark.parametrize("damage", sorted(IMAGE_DAMAGES))
def test_damaged_image_is_named_and_can_be_skipped(root: Path, name: str, damage: str) -> None:
    folder = miniatures.OFFICIAL[name](root)
    whole = sum(
        len(load_dataset(name, split, root=root, source="real")) for split in ("train", "test")
    )
    image = first_image(folder / "images" if name == "aircraft" else folder)
    IMAGE_DAMAGES[damage](image)
    with pytest.raises(BrokenFileError, match="--skip-broken") as caught:
        load_all(root, name)
    assert str(image) in str(caught.value)
    parts = [
        load_dataset(name, split, root=root, source="real", skip_broken=True)
        for split in ("train", "test")
    ]
    assert sum(len(part) for part in parts) == whole - 1
    assert sum(str(image) in note for part in parts for note in part.notes) == 1


@pytest.mark.parametrize("name", ["aircraft", "cars", "cub200", "flowers"])
def test_missing_listed_image_is_named_and_can_be_skipped(root: Path, name: str) -> None:
    folder = miniatures.OFFICIAL[name](root)
    image = first_image(folder / "images" if name == "aircraft" else folder)
    image.unlink()
    with pytest.raises(MissingDataError, match="--skip-broken") as caught:
        load_all(root, name)
    assert str(image) in str(caught.value)
    for split in ("train", "test"):
        load_dataset(name, split, root=root, source="real", skip_broken=True)


def test_directory_that_cannot_be_read_is_named(root: Path, closed) -> None:
    folder = miniatures.imagenet(root)
    unreadable = folder / "train" / sorted(p.name for p in (folder / "train").iterdir())[1]
    with closed(unreadable), pytest.raises(BrokenFileError, match="cannot be read") as caught:
        load_dataset("imagenet", "train", root=root, source="real")
    assert str(unreadable) in str(caught.value)
