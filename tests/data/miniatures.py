"""Copies of each dataset in its official layout, a handful of images each, with known answers.

Every image is dark with one red rectangle; where a layout has regions, they say where it is.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import torch
from PIL import Image, ImageDraw

from lico_bench.data import load_card, load_dataset
from lico_bench.data.dataset import Dataset

WIDTH, HEIGHT = 120, 80
BOX = (30, 20, 66, 44)  # left, top, right, bottom; right and bottom open; nowhere symmetric
PER_CLASS = 6


def paint(path: Path, *, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A dark image with the red rectangle, as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 40, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    left, top, right, bottom = BOX
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=(250, 10, 10))
    image.save(path, "JPEG", quality=95, subsampling=0)


def cifar10(root: Path) -> Path:
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        batch = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": list(load_card("cifar10").class_names)}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def cifar100(root: Path) -> Path:
    folder = root / "cifar100" / "cifar-100-python"
    folder.mkdir(parents=True)
    for number, name in enumerate(("train", "test")):
        rng = np.random.default_rng(number)
        batch = {
            "data": rng.integers(0, 256, (200, 3072), dtype=np.uint8),
            "fine_labels": [i % 100 for i in range(200)],
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    meta = {"fine_label_names": list(load_card("cifar100").class_names)}
    (folder / "meta").write_bytes(pickle.dumps(meta))
    return folder


def svhn(root: Path) -> Path:
    folder = root / "svhn"
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
        labels = np.array([[1 + i % 10] for i in range(30)], dtype=np.uint8)  # 10 means 0
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": labels})
    return folder


def imagenet(root: Path) -> Path:
    folder = root / "imagenet"
    wnids = load_card("imagenet").class_ids[:3]
    number = 0
    for wnid in wnids:
        for i in range(PER_CLASS):
            paint(folder / "train" / wnid / f"{wnid}_{i}.JPEG", seed=i)
        for _ in range(2):
            number += 1
            name = f"ILSVRC2012_val_{number:08d}"
            paint(folder / "val" / wnid / f"{name}.JPEG", seed=number)
            annotate(folder / "Annotations" / "CLS-LOC" / "val" / f"{name}.xml", wnid)
    return folder


def annotate(path: Path, wnid: str) -> None:
    left, top, right, bottom = BOX
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><object><name>{wnid}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        "<object><name>n99999999</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>9</xmax>"
        "<ymax>9</ymax></bndbox></object></annotation>"
    )


def cub200(root: Path, *, masks: bool = False) -> Path:
    folder = root / "cub200" / "CUB_200_2011"
    ids = load_card("cub200").class_ids
    images, labels, split, boxes = [], [], [], []
    left, top, right, bottom = BOX
    for number in range(1, 2 * PER_CLASS + 1):
        label = 1 if number <= PER_CLASS else 2
        name = f"{ids[label - 1]}/Bird_{number:04d}.jpg"
        paint(folder / "images" / name, seed=number)
        images.append(f"{number} {name}")
        labels.append(f"{number} {label}")
        split.append(f"{number} {int(number % 3 > 0)}")
        boxes.append(f"{number} {left}.0 {top}.0 {right - left}.0 {bottom - top}.0")
        if masks:
            mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            mask[top:bottom, left:right] = 255
            mask[:5, :5] = 51  # one annotator of five
            path = root / "cub200" / "segmentations" / Path(name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    classes = [f"{k} {name}" for k, name in enumerate(ids, start=1)]
    for file, lines in (
        ("images.txt", images), ("image_class_labels.txt", labels),
        ("train_test_split.txt", split), ("bounding_boxes.txt", boxes), ("classes.txt", classes),
    ):  # fmt: skip
        (folder / file).write_text("\n".join(lines) + "\n")
    return folder


def cars(root: Path) -> Path:
    folder = root / "cars" / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array(load_card("cars").class_names, dtype=object)
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    write_cars_list(folder, "train")
    write_cars_list(folder, "test")
    return folder


def write_cars_list(
    folder: Path, split: str, *, label: int | None = None, name: str | None = None
) -> None:
    left, top, right, bottom = BOX
    kinds = [(field, object) for field in
             ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]  # fmt: skip
    rows = []
    for i in range(2 * PER_CLASS):
        file = f"{i + 1:05d}.jpg"
        paint(folder / f"cars_{split}" / file, seed=i)
        rows.append((left + 1, top + 1, right, bottom, label or 1 + i % 2, name or file))
    annotations = np.array(rows, dtype=kinds)
    path = folder / "devkit" / "cars_train_annos.mat"
    if split == "test":
        path = folder / "cars_test_annos_withlabels.mat"
    scipy.io.savemat(path, {"annotations": annotations})


def aircraft(root: Path) -> Path:
    folder = root / "aircraft" / "fgvc-aircraft-2013b" / "data"
    variants = load_card("aircraft").class_names
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("\n".join(variants) + "\n")
    left, top, right, bottom = BOX
    boxes = []
    for split, first in (("trainval", 0), ("test", 500)):
        lines = []
        for i in range(first, first + 2 * PER_CLASS):
            name = f"{i:07d}"
            # 20 rows of credit strip below the image.
            paint(folder / "images" / f"{name}.jpg", seed=i, size=(WIDTH, HEIGHT + 20))
            lines.append(f"{name} {variants[i % 2]}")
            boxes.append(f"{name} {left + 1} {top + 1} {right} {bottom}")
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "images_box.txt").write_text("\n".join(boxes) + "\n")
    return folder


def flowers(root: Path, *, masks: bool = True) -> Path:
    folder = root / "flowers" / "flowers-102"
    count = 4 * PER_CLASS
    left, top, right, bottom = BOX
    for number in range(1, count + 1):
        paint(folder / "jpg" / f"image_{number:05d}.jpg", seed=number)
        if masks:
            mask = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
            mask[...] = (0, 0, 254)
            mask[top:bottom, left:right] = (200, 120, 60)
            path = folder / "segmim" / f"segmim_{number:05d}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(mask).save(path, "JPEG", quality=95)
    labels = np.array([[1 + i % 2 for i in range(count)]])
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels})
    numbers = np.arange(1, count + 1)
    thirds = {"trnid": numbers[0::3], "valid": numbers[1::3], "tstid": numbers[2::3]}
    scipy.io.savemat(folder / "setid.mat", {k: v[None] for k, v in thirds.items()})
    return folder


def class_folders(root: Path, name: str, splits: tuple[str, ...]) -> Path:
    """User images, three of each of the card's first three classes."""
    folder = root / name
    for split in splits:
        for label, class_name in enumerate(load_card(name).class_names[:3]):
            for i in range(3):
                paint(folder / split / class_name / f"{i}.jpg", seed=10 * label + i)
    return folder


def hub_parquet(root: Path, name: str, *, names: list[str] | None = None) -> Path:
    """Hugging Face Parquet files, ten rows in each of two splits."""
    folder = root / name
    folder.mkdir(parents=True)
    paint(folder / "one.jpg")
    encoded = (folder / "one.jpg").read_bytes()
    table = pa.table(
        {"img": [{"bytes": encoded, "path": f"{i}.jpg"} for i in range(10)],
         "label": [i % 5 for i in range(10)]}
    )  # fmt: skip
    if names is not None:
        info = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


OFFICIAL = {
    "aircraft": aircraft, "cars": cars, "cifar10": cifar10, "cifar100": cifar100,
    "cub200": cub200, "flowers": flowers, "imagenet": imagenet, "svhn": svhn,
}  # fmt: skip


def load_real(root: Path, name: str, split: str = "train", **options: object) -> Dataset:
    """The split of the miniature copy under `root`."""
    return load_dataset(name, split, root=root, source="real", **options)  # type: ignore[arg-type]


BORDER = 0.12  # share of the region that interpolation and JPEG blur at its border


def overlap(data: Dataset) -> torch.Tensor:
    """Intersection over union of each image's red rectangle and its region."""
    images = data.images
    red = (images[:, 0] > 0.5) & (images[:, 1] < 0.4)
    regions = data.read_regions(range(len(data)))
    return (red & regions).sum((1, 2)) / (red | regions).sum((1, 2))


def first_image(folder: Path) -> Path:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[0]


def load_all(root: Path, name: str) -> None:
    for split in ("train", "test"):
        data = load_dataset(name, split, root=root, source="real", image_size=16)
        data.read(range(len(data)))
