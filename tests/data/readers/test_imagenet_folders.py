"""ImageNet in its folders, with the labels of validation from its lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from lico_bench.data import load_card, load_dataset
from lico_bench.errors import BrokenFileError, MissingDataError
from tests.data import miniatures
from tests.data.miniatures import BORDER, first_image, load_all, load_real, overlap


def test_imagenet_labels_follow_the_card_and_not_the_folders_present(root: Path) -> None:
    folder = miniatures.imagenet(root)
    wnid = load_card("imagenet").class_ids[700]
    miniatures.paint(folder / "val" / wnid / "ILSVRC2012_val_00009999.JPEG")
    data = load_real(root, "imagenet", "test")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 700]
    # The image without an annotation is skipped by its empty region, the others are not.
    regions = data.read_regions(range(7)).flatten(1).any(1)
    assert regions.tolist() == [True] * 6 + [False]


@pytest.mark.parametrize("truth", ["csv", "list", "kit"])
def test_imagenet_validation_in_one_folder_takes_labels_from_its_index(
    root: Path, truth: str
) -> None:
    folder = miniatures.imagenet(root)
    in_folders = load_real(root, "imagenet", "test", image_size=32)
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
    data = load_real(root, "imagenet", "test", image_size=64)
    assert dict(zip(data.image_ids, data.labels.tolist(), strict=True)) == expected
    assert (overlap(data) > 1 - BORDER).all()


def test_imagenet_in_one_folder_without_labels_says_what_to_add(root: Path) -> None:
    folder = miniatures.imagenet(root)
    for file in list((folder / "val").rglob("*.JPEG")):
        file.rename(folder / "val" / file.name)
    with pytest.raises(MissingDataError, match=r"add LOC_val_solution\.csv"):
        load_all(root, "imagenet")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Id,Boxes\na,b\n", "ImageId and PredictionString"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,n00000000 1 2 3 4\n", "unknown in"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3\n", "four numbers"),
    ],
)
def test_broken_imagenet_solution_is_refused(root: Path, text: str, complaint: str) -> None:
    folder = miniatures.imagenet(root)
    image = first_image(folder / "val")
    for file in list((folder / "val").rglob("*.JPEG")):
        file.unlink()
    for annotation in (folder / "Annotations" / "CLS-LOC" / "val").iterdir():
        annotation.unlink()
    (folder / "Annotations" / "CLS-LOC" / "val").rmdir()
    miniatures.paint(folder / "val" / image.name)
    (folder / "LOC_val_solution.csv").write_text(text)
    with pytest.raises(BrokenFileError, match=complaint):
        load_dataset("imagenet", "test", root=root, source="real")
