"""Every file reader, with a valid example to damage and a call that reads all of it."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from fake_run import make_run
from mutations import ODD_VALUES, spoilt_bytes, spoilt_value
from PIL import Image
from torch import nn

from lico_bench.bench.interruption import Checkpoint
from lico_bench.claims import read_claims
from lico_bench.claims.published import read_published
from lico_bench.data import load_dataset
from lico_bench.data.cards import read_card
from lico_bench.data.download import unpack_tar
from lico_bench.data.find_files import read_class_names
from lico_bench.data.folder import load_folder
from lico_bench.data.image_files import FileImages, Fit
from lico_bench.data.regions import read_xml_boxes
from lico_bench.gate.reference import read_reference, write_reference
from lico_bench.models import load_weights
from lico_bench.models.weight_files import fill_network, read_state
from lico_bench.report.gathering import gather
from lico_bench.runtime import shipped
from lico_bench.store import RunFolder, read_json, read_parquet, read_run
from tests.data import miniatures

Spoil = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Reader:
    """A file reader under test.

    Attributes:
        make: writes a valid example into a folder and returns the files to damage.
        read: reads the whole folder.
        spoil: damages one file.
        is_light: fast enough for the default tests.
    """

    name: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    spoil: Spoil
    is_light: bool = True


def spoil_bytes(path: Path, rng: random.Random) -> None:
    path.write_bytes(spoilt_bytes(path.read_bytes(), rng))


def spoil_json(path: Path, rng: random.Random) -> None:
    """Change the structure of a JSON file and remove its seal."""
    value = json.loads(path.read_text())
    if isinstance(value, dict):
        value.pop("seal", None)
    path.write_text(json.dumps(spoilt_value(value, rng)))


def spoil_table(path: Path, rng: random.Random) -> None:
    """Write a valid table with a missing column, wrong values or wrong rows."""
    frame = read_parquet(path)
    name = rng.choice(list(frame.columns))
    kind = rng.randrange(5)
    try:
        if kind == 0:
            frame = frame.drop(columns=name)
        elif kind == 1:
            frame[name] = rng.choice(ODD_VALUES)
        elif kind == 2:
            values = frame[name].astype(object).tolist()
            values[rng.randrange(len(values))] = rng.choice(ODD_VALUES)
            frame[name] = values
        elif kind == 3:
            frame = frame.head(rng.choice((0, 1, 2)))
        else:
            frame = pd.concat([frame, frame.sample(2, random_state=rng.randrange(99))])
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        spoil_bytes(path, rng)  # a value that no table holds


def bytes_or_json(path: Path, rng: random.Random) -> None:
    (spoil_json if rng.random() < 0.8 else spoil_bytes)(path, rng)


def bytes_or_table(path: Path, rng: random.Random) -> None:
    (spoil_table if rng.random() < 0.7 else spoil_bytes)(path, rng)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _dataset(name: str, make: Callable[[Path], object]) -> Reader:
    def prepare(folder: Path) -> list[Path]:
        make(folder)
        found = files_of(folder)
        index = [p for p in found if p.suffix.lower() not in (".jpg", ".jpeg", ".png")]
        return [*index * 3, *found[:4]]

    def read(folder: Path) -> None:
        for split in ("train", "test"):
            data = load_dataset(name, split, root=folder, source="real", image_size=32)
            few = range(min(4, len(data)))
            data.read(few)
            if data.has_regions:
                data.read_instances(few)

    return Reader(f"dataset {name}", prepare, read, spoil_bytes, is_light=False)


def _copied(source: Path, name: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        shutil.copy(source, folder / name)
        return [folder / name]

    return make


def _written(name: str, content: bytes) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        (folder / name).write_bytes(content)
        return [folder / name]

    return make


def _published(folder: Path) -> list[Path]:
    for path in sorted((shipped("baselines") / "published").glob("*.csv"))[:2]:
        shutil.copy(path, folder)
    return files_of(folder)


def small_run(folder: Path) -> RunFolder:
    run = folder / "run"
    if not run.exists():
        make_run(run, datasets={"cub200": "standin"}, seeds=1, num_test=8, num_explained=4)
    return RunFolder(run)


def _run_files(*patterns: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        run = small_run(folder)
        return sorted(path for one in patterns for path in run.path.glob(one))

    return make


def _with_a_failure(folder: Path) -> list[Path]:
    """Return the JSON files of all cells; the last cell failed."""
    run = small_run(folder)
    cell = run.cell(read_json(run.manifest_path)["cells"][-1]["key"])
    cell.done.unlink()
    message = {"stage": "scoring", "sentence": "it broke", "error": "X", "traceback": "a\nb"}
    cell.failure.write_text(json.dumps(message))
    return sorted(run.path.glob("cells/*/*.json"))


def _read_tables(folder: Path) -> None:
    run = read_run(folder / "run")
    run.rows()
    run.curves()
    run.gallery()
    run.history()


def _read_facts(folder: Path) -> None:
    run = read_run(folder / "run")
    run.inference()
    run.undefined()
    run.findings()
    run.failures()


def _reference(folder: Path) -> list[Path]:
    write_reference(small_run(folder), folder / "reference.csv")
    return [folder / "reference.csv"]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def _safetensors(folder: Path) -> list[Path]:
    safetensors.torch.save_file(network().state_dict(), folder / "w.safetensors")
    return files_of(folder)


def _state_dict(folder: Path) -> list[Path]:
    torch.save(network().state_dict(), folder / "w.pt")
    torch.save(network().state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    return files_of(folder)


def _read_weights(folder: Path) -> None:
    for path in files_of(folder):
        read_state(path)
        fill_network(network(), path)


def _checkpoint(folder: Path) -> list[Path]:
    cell = small_run(folder).cell("x")
    Checkpoint(cell).write({"epoch": 1, "classifier": network().state_dict(), "history": [(1, 2)]})
    return [cell.checkpoint]


def _image_formats(folder: Path) -> list[Path]:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "jpg", "bmp", "webp", "gif", "tif", "ppm"):
        image.save(folder / f"a.{suffix}")
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("P").save(folder / "palette.png", transparency=b"\x00\x80")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    image.save(folder / "lzw.tif", compression="tiff_lzw")
    image.save(folder / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    return files_of(folder)


def _decode(folder: Path) -> None:
    files = files_of(folder)
    images = FileImages(tuple(files), tuple(p.name for p in files), Fit(8, "crop", 1.0, 0))
    for index in range(len(files)):
        images.decode(index)
        images.header(index)


def _user_images(folder: Path) -> list[Path]:
    for label in ("ant", "bee"):
        (folder / label).mkdir()
        for number in range(2):
            miniatures.paint(folder / label / f"{number}.png", seed=number, size=(20, 16))
    return files_of(folder)


def _read_user_images(folder: Path) -> None:
    dataset = load_folder(folder).dataset
    dataset.read(range(len(dataset)))


def _tar(folder: Path) -> list[Path]:
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for name in ("train/ant/0.txt", "train/bee/1.txt"):
            info = tarfile.TarInfo(name)
            info.size = 2000
            archive.addfile(info, io.BytesIO(bytes(2000)))
    return [folder / "a.tar.gz"]


def _untar(folder: Path) -> None:
    target = folder / "out"
    target.mkdir(exist_ok=True)
    unpack_tar(folder / "a.tar.gz", target)


def _xml(folder: Path) -> list[Path]:
    miniatures.annotate(folder / "a.xml", "n01440764")
    return [folder / "a.xml"]


CLASSES = "ant\nbee\nhouse fly\nwörm\n".encode()

READERS = (
    *(_dataset(name, make) for name, make in miniatures.OFFICIAL.items()),
    _dataset("flowers", lambda r: miniatures.class_folders(r, "flowers", ("train", "test"))),
    _dataset("cifar10", lambda r: miniatures.hub_parquet(r, "cifar10")),
    Reader("card", _copied(shipped("datasets") / "svhn.toml", "mine.toml"),
           lambda f: read_card(f / "mine.toml"), spoil_bytes),
    Reader("claims", _copied(shipped("baselines") / "claims.toml", "claims.toml"),
           lambda f: read_claims(f / "claims.toml"), spoil_bytes),
    Reader("published numbers", _published, read_published, spoil_bytes),
    Reader("reference scores", _reference, lambda f: read_reference(f / "reference.csv"),
           spoil_bytes, is_light=False),
    Reader("manifest", _run_files("manifest.json"), lambda f: read_run(f / "run"), bytes_or_json),
    Reader("manifest, gathered", _run_files("manifest.json"), lambda f: gather(read_run(f / "run")),
           spoil_json, is_light=False),
    Reader("cell's facts", _with_a_failure, _read_facts, bytes_or_json),
    Reader("tables of a run", _run_files("cells/*/*.parquet"), _read_tables, bytes_or_table,
           is_light=False),
    Reader("tables, gathered", _run_files("cells/*/rows.parquet", "cells/*/curves.parquet"),
           lambda f: gather(read_run(f / "run")), spoil_table, is_light=False),
    Reader("JSON", _run_files("cells/*/done.json"),
           lambda f: [read_json(p) for p in f.glob("run/cells/*/done.json")], spoil_bytes),
    Reader("weights, safetensors", _safetensors, _read_weights, spoil_bytes),
    Reader("weights, state dict", _state_dict, _read_weights, spoil_bytes),
    Reader("weights of a cell", _safetensors,
           lambda f: load_weights(network(), f / "w.safetensors"), spoil_bytes),
    Reader("checkpoint", _checkpoint, lambda f: Checkpoint(RunFolder(f / "run").cell("x")).read(),
           spoil_bytes),
    # The names of readers seed the mutations.
    Reader("pictures", _image_formats, _decode, spoil_bytes),
    Reader("own images", _user_images, _read_user_images, spoil_bytes),
    Reader("class list", _written("classes.txt", CLASSES),
           lambda f: read_class_names(f / "classes.txt"), spoil_bytes),
    Reader("boxes in XML", _xml, lambda f: read_xml_boxes(f / "a.xml", "n01440764"), spoil_bytes),
    Reader("archive", _tar, _untar, spoil_bytes),
)  # fmt: skip
