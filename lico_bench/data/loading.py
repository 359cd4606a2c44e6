"""From a dataset's name to a split that can be trained on, real or drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lico_bench.checks import check_choice
from lico_bench.data.cards import DatasetCard, load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.find_dataset import Found, find_copy, missing_copy, resolve_source
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import ArrayImages
from lico_bench.data.read_split import (
    count_notes,
    fingerprint,
    open_images,
    read_split,
    unreadable,
    without_broken,
)
from lico_bench.data.readers import READERS
from lico_bench.data.scenes import VERSION, draw_scenes
from lico_bench.data.selection import (
    TEST_FRACTION,
    Indices,
    draw_label_budget,
    first_of_each_class,
    hold_out,
)
from lico_bench.data.split_index import Faults, SplitIndex, digest_of
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Choice:
    """Which images of a split are asked for."""

    split: str
    labels: int | Literal["full"]
    limit: int | None
    holdout: float | None
    seed: int


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
    """One split of the dataset called `name`.

    Where a copy has no official test files, a fixed, class-balanced fifth of its training images
    serves as test and is never in train; `test_from_train` and a note say so.

    Args:
        split: `train`, `val` or `test`; ImageNet's test is its official validation split.
        root: the data root; None takes LICO_BENCH_DATA or `./datasets`.
        source: `real`, `standin`, or `auto` for real images where they are found.
        image_size: px; None takes the card's size (or the stand-in's).
        labels: how many training images keep their label, a class-balanced draw; the rest is
            not used.
        limit: at most this many images, classes in turn.
        seed: of the label draw and of the validation split.
        holdout: share of each training class that `val` takes and `train` gives up.
        skip_broken: leave broken and missing images out and note it, instead of raising.
        variant: of the stand-in: `plain`, or `planted_cue`, where a mark beside the object tells
            the class and the object does not; its regions are those of the mark.

    Raises:
        UnknownNameError: for a dataset without a card.
        MissingDataError: if files are missing.
        BrokenFileError: if files are damaged or contradict the card.
        InvalidInputError: for options that do not fit the split.
    """
    check_choice("split", split, SPLITS)
    check_choice("variant", variant, ("plain", "planted_cue"))
    choice = _Choice(split, labels, limit, holdout, seed)
    _check_choice(choice)
    card = load_card(name, root)
    found_source = resolve_source(name, root=root, data=source)
    if found_source == "standin":
        return _load_standin(card, choice, image_size, variant)
    if variant != "plain":
        raise InvalidInputError(
            f"variant '{variant}' exists for stand-ins only; use source='standin'"
        )
    found = find_copy(card, root)
    if found is None:
        raise missing_copy(card, root)
    try:
        return _load_real(card, found, choice, image_size, skip_broken)
    except LicoBenchError:
        raise
    except OSError as error:
        raise unreadable(found, error) from error


def _check_choice(choice: _Choice) -> None:
    if choice.labels != "full" and choice.split != "train":
        raise InvalidInputError(
            f"labels: a budget belongs to the train split, not to '{choice.split}'; leave it 'full'"
        )
    if choice.holdout is not None and choice.split == "test":
        raise InvalidInputError("holdout: validation images come from train; load test without it")


def _load_real(
    card: DatasetCard, found: Found, choice: _Choice, image_size: int | None, skip_broken: bool
) -> Dataset:
    faults = Faults(skip=skip_broken)
    present = READERS[found.layout].splits(found.folder, card)
    from_train = "test" not in present
    if from_train and "train" not in present:
        raise MissingDataError(
            f"{found.folder}: neither train nor test images of {card.title}; "
            f"expected {card.expects}"
        )
    official = choice.split if choice.split in present else "train"
    if choice.split == "train" and "train" not in present:
        raise MissingDataError(
            f"{found.folder}: no training images of {card.title}; expected {card.expects}"
        )
    fit = Fit.of(card, image_size)
    listing = read_split(card, found, official, faults)
    if skip_broken:
        listing = without_broken(listing, fit, faults)
    notes = [*count_notes(card, official, listing), *listing.notes, *faults.sentences]
    found_count = len(listing)
    official_count = card.official_counts.get(official, found_count)
    if from_train:
        listing, note = _test_part(card, listing, choice.split)
        notes.append(note)
        if choice.split == "test":
            found_count, official_count = len(listing), card.official_counts["test"]
    has_own_val = choice.split == "val" and official == "val"
    chosen = listing.take(
        _positions(listing.labels, listing.image_ids, choice, has_own_val=has_own_val)
    )
    return Dataset(
        name=card.name,
        title=card.title,
        split=choice.split,
        source="real",
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        labels=torch.from_numpy(chosen.labels.astype(np.int64)),
        image_ids=chosen.image_ids,
        found_count=found_count,
        official_count=official_count,
        mean=card.mean,
        std=card.std,
        test_from_train=from_train,
        notes=tuple(notes),
        fingerprint=fingerprint(card, found, chosen, fit),
        image_source=open_images(chosen, fit),
        region_source=chosen.regions,
    )


def _test_part(card: DatasetCard, listing: SplitIndex, split: str) -> tuple[SplitIndex, str]:
    """The fixed fifth of the training images for `test`, what is left for the other splits."""
    held = hold_out(listing.labels, listing.image_ids, TEST_FRACTION, salt="test")
    note = (
        f"{card.title}: the official test images are absent; {len(held):,} of the {len(listing):,} "
        "training images, the same share of each class, serve as test and are never trained on"
    )
    return listing.take(held if split == "test" else _others(len(listing), held)), note


def _positions(
    labels: NDArray[np.int64], image_ids: tuple[str, ...], choice: _Choice, *, has_own_val: bool
) -> Indices:
    """Which images remain after the hold-out, the label budget and the limit, in that order."""
    kept = np.arange(len(labels), dtype=np.int64)
    if choice.split == "val" and not has_own_val and choice.holdout is None:
        raise InvalidInputError(
            "val: no official validation split here; say which share of train it takes with "
            "holdout=0.1, and pass the same to the train split"
        )
    if choice.holdout is not None and not has_own_val:
        held = hold_out(labels, image_ids, choice.holdout, salt=f"val:{choice.seed}")
        kept = held if choice.split == "val" else _others(len(labels), held)
    if choice.labels != "full":
        kept = kept[draw_label_budget(labels[kept], choice.labels, seed=choice.seed)]
    if choice.limit is not None:
        kept = kept[first_of_each_class(labels[kept], choice.limit)]
    return kept


def _others(count: int, indices: Indices) -> Indices:
    return np.setdiff1d(np.arange(count, dtype=np.int64), indices)


def _load_standin(
    card: DatasetCard, choice: _Choice, image_size: int | None, variant: str
) -> Dataset:
    facts = card.standin
    if facts is None:
        raise MissingDataError(f"{card.title}: its card declares no stand-in; use source='real'")
    # Validation images come from train here as well, so test images are never looked at.
    official = "test" if choice.split == "test" else "train"
    scenes = draw_scenes(card.name, facts, official, image_size=image_size, variant=variant)
    ids = tuple(f"{official}/{i:05d}" for i in range(len(scenes.labels)))
    positions = _positions(scenes.labels.numpy(), ids, choice, has_own_val=False)
    where = torch.from_numpy(positions)
    images = scenes.images[where]
    digest = [f"scenes {VERSION} {variant}", images.numpy().tobytes(), *(ids[i] for i in positions)]
    note = f"{card.title}: drawn stand-in scenes, not the dataset's images"
    return Dataset(
        name=card.name,
        title=f"{card.title} stand-in",
        split=choice.split,
        source="standin",
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        labels=scenes.labels[where],
        image_ids=tuple(ids[i] for i in positions),
        found_count=len(ids),
        official_count=len(ids),
        mean=card.mean,
        std=card.std,
        test_from_train=False,
        notes=(note,),
        fingerprint=digest_of(digest),
        image_source=ArrayImages(images),
        region_source=scenes.regions[where],
    )
