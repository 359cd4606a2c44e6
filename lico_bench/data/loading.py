"""Loading of a dataset split by name, from real images or a synthetic stand-in."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch

from lico_bench.checks import check_choice
from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.find_dataset import choose_images
from lico_bench.data.image_source import ArrayImages, FileImages, ImageSource
from lico_bench.data.read_split import SelectedSplit, select_split
from lico_bench.data.readers import digest_of
from lico_bench.data.scenes import VERSION, draw_scenes
from lico_bench.data.selection import Selection
from lico_bench.errors import InvalidInputError

RESIZE_CHUNK = 1024  # antialiased resizing converts to float, four times the bytes


def load_dataset(
    name: str,
    split: str,
    *,
    root: str | os.PathLike[str] | None = None,
    source: str = "auto",
    image_size: int | None = None,
    labels: int | Literal["full"] = "full",
    limit: int | None = None,
    seed: int = 0,
    holdout: float | None = None,
    skip_broken: bool = False,
    variant: str = "plain",
) -> Dataset:
    """Load one split of the dataset `name`.

    If a copy has no official test files, a fixed, class-balanced fifth of its training images
    serves as test and is excluded from train; `test_from_train` and a note record this.

    Args:
        split: `train`, `val` or `test`; ImageNet's test is its official validation split.
        root: the data root; None means LICO_BENCH_DATA or `./datasets`.
        source: `real`, `standin`, or `auto` for real images if a copy is found.
        image_size: px; None means the size of the card (or of its stand-in).
        labels: label budget: number of training images, drawn class-balanced; the other images
            are not used.
        limit: maximum number of images, taken from the classes in turn.
        seed: seed of the label budget and of the validation split.
        holdout: share of each training class that is moved from `train` to `val`.
        skip_broken: skip broken and missing images and note them, instead of raising.
        variant: of the stand-in: `plain`, or `planted_cue`, where a disc beside the object
            determines the class and the object does not; the regions are those of the disc.

    Raises:
        UnknownNameError: for a dataset without a card.
        MissingDataError: if files are missing.
        BrokenFileError: if files are damaged or contradict the card.
        InvalidInputError: for options that do not fit the split.
    """
    selection = Selection(split, labels, limit, holdout, seed)
    check_choice("variant", variant, ("plain", "planted_cue"))
    card = load_card(name, root)
    chosen = choose_images(card, root, source)
    if isinstance(chosen, StandinFacts):
        return _load_standin(card, chosen, selection, image_size, variant)
    if variant != "plain":
        raise InvalidInputError(
            f"variant '{variant}' is available for stand-ins only; use source='standin'"
        )
    selected = select_split(card, chosen, selection, image_size=image_size, skip_broken=skip_broken)
    return _open_split(card, split, selected)


def _open_split(card: DatasetCard, split: str, selected: SelectedSplit) -> Dataset:
    return Dataset(
        name=card.name,
        title=card.title,
        split=split,
        source="real",
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        labels=torch.from_numpy(selected.index.labels.astype(np.int64)),
        image_ids=selected.index.image_ids,
        found_count=selected.found_count,
        official_count=selected.official_count,
        mean=card.mean,
        std=card.std,
        test_from_train=selected.test_from_train,
        notes=selected.notes,
        fingerprint=selected.fingerprint,
        image_source=_open_images(selected),
        region_source=selected.index.regions,
    )


def _open_images(selected: SelectedSplit) -> ImageSource:
    """Open the images of a split; raw pixels are resized and held in memory."""
    index, size = selected.index, selected.fit.size
    if index.pixels is None:
        return FileImages(index.files, index.image_ids, selected.fit)
    pixels = torch.from_numpy(np.ascontiguousarray(index.pixels))
    if tuple(pixels.shape[2:]) != (size, size):
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        chunks = pixels.split(RESIZE_CHUNK)
        pixels = torch.cat([transforms.resize(p, [size] * 2, antialias=True) for p in chunks])
    return ArrayImages(pixels)


def _load_standin(
    card: DatasetCard,
    facts: StandinFacts,
    selection: Selection,
    image_size: int | None,
    variant: str,
) -> Dataset:
    # Validation images are taken from train, so the test images stay unseen.
    official = "test" if selection.split == "test" else "train"
    scenes = draw_scenes(card.name, facts, official, image_size=image_size, variant=variant)
    all_ids = tuple(f"{official}/{i:05d}" for i in range(len(scenes.labels)))
    positions = selection.positions(scenes.labels.numpy(), all_ids, is_official_val=False)
    indices = torch.from_numpy(positions)
    images = scenes.images[indices]
    image_ids = tuple(all_ids[i] for i in positions)
    digest = [f"scenes {VERSION} {variant}", images.numpy().tobytes(), *image_ids]
    return Dataset(
        name=card.name,
        title=f"{card.title} stand-in",
        split=selection.split,
        source="standin",
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        labels=scenes.labels[indices],
        image_ids=image_ids,
        found_count=len(all_ids),
        official_count=len(all_ids),
        mean=card.mean,
        std=card.std,
        test_from_train=False,
        notes=(f"{card.title}: drawn stand-in scenes, not the dataset's images",),
        fingerprint=digest_of(digest),
        image_source=ArrayImages(images),
        region_source=scenes.regions[indices],
    )
