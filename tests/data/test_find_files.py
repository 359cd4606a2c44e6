from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.data import load_dataset, locate_dataset, resolve_source
from lico_bench.data.find_files import images_by_class
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from tests.data import miniatures


@pytest.mark.parametrize("name", sorted(miniatures.OFFICIAL))
def test_auto_takes_real_images_where_they_are_and_standins_elsewhere(
    root: Path, name: str
) -> None:
    assert resolve_source(name, root=root) == "standin"
    miniatures.OFFICIAL[name](root)
    assert resolve_source(name, root=root) == "real"
    assert resolve_source(name, root=root, data="standin") == "standin"


def test_official_folder_directly_in_the_root_is_found(root: Path) -> None:
    miniatures.cifar10(root)
    found = locate_dataset("cifar10", root / "cifar10").copy
    assert found is not None
    assert found.layout == "cifar_batches"
    assert locate_dataset("cifar100", root / "cifar10").copy is None


def test_asking_for_real_images_that_are_not_there_says_where_it_looked(root: Path) -> None:
    with pytest.raises(MissingDataError, match=r"cifar-10-batches-py/ with data_batch_1") as caught:
        resolve_source("cifar10", root=root, data="real")
    assert str(root / "cifar10") in str(caught.value)
    assert "--data standin" in str(caught.value)


def test_root_that_does_not_exist_is_an_error_and_no_standin(root: Path) -> None:
    with pytest.raises(MissingDataError, match="no such folder"):
        resolve_source("cifar10", root=root / "typo")


def test_unknown_data_option_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="auto, real, standin"):
        resolve_source("cifar10", data="fake")


def test_existing_but_broken_copy_is_an_error_and_no_standin(root: Path) -> None:
    (root / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    assert resolve_source("cifar10", root=root) == "real"
    with pytest.raises(MissingDataError, match=r"batches\.meta: file missing"):
        load_dataset("cifar10", "train", root=root)


def test_aircraft_lists_without_images_are_no_copy(root: Path) -> None:
    data = root / "aircraft" / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("707-320\n")
    assert resolve_source("aircraft", root=root) == "standin"


def test_class_folders_directly_in_a_root_of_another_name_belong_to_nobody(root: Path) -> None:
    miniatures.class_folders(root, "cifar10", ("train", "test"))
    (root / "cifar10").rename(root / "holiday")
    assert locate_dataset("cifar10", root / "holiday").copy is None
    (root / "holiday").rename(root / "cifar10_full")
    found = locate_dataset("cifar10", root / "cifar10_full").copy
    assert found is not None
    assert found.layout == "class_folders"
    assert locate_dataset("cifar100", root / "cifar10_full").copy is None


def test_folder_that_may_not_be_read_is_an_error_and_no_standin(root: Path, closed) -> None:
    folder = miniatures.cifar10(root).parent
    denied = pytest.raises(BrokenFileError, match=r"cannot be read \(Permission denied\)")
    with closed(folder), denied:
        resolve_source("cifar10", root=root)


def test_images_by_class_leave_out_what_is_hidden_and_keep_broken_links(tmp_path: Path) -> None:
    for name in (
        "ant/b/2.JPG",
        "ant/1.png",
        "ant/._1.png",
        "ant/notes.txt",
        "bee/3.gif",
        ".git/4.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bee" / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "bee" / "folder.jpg").mkdir()
    found = {name: [f.name for f in files] for name, files in images_by_class(tmp_path).items()}
    assert found == {"ant": ["1.png", "2.JPG"], "bee": ["3.gif", "gone.jpg"]}
