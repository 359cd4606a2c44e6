"""Loading of a dataset split by name, from real images or a synthetic stand-in."""

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
from lico_bench.data.find_dataset import DatasetCopy, find_copy, missing_copy_error, resolve_source
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import ArrayImages
from lico_bench.data.read_split import (
    count_notes,
    drop_broken_images,
    fingerprint,
    open_images,
    read_split,
    unreadable_error,
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
class _Selection:
    """Requested images of a split."""

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
    check_choice("split", split, SPLITS)
    check_choice("variant", variant, ("plain", "planted_cue"))
    selection = _Selection(split, labels, limit, holdout, seed)
    _check_selection(selection)
    card = load_card(name, root)
    resolved_source = resolve_source(name, root=root, data=source)
    if resolved_source == "standin":
        return _load_standin(card, selection, image_size, variant)
    if variant != "plain":
        raise InvalidInputError(
            f"variant '{variant}' is available for stand-ins only; use source='standin'"
        )
    copy = find_copy(card, root)
    if copy is None:
        raise missing_copy_error(card, root)
    try:
        return _load_real(card, copy, selection, image_size, skip_broken)
    except LicoBenchError:
        raise
    except OSError as error:
        raise unreadable_error(copy, error) from error


def _check_selection(selection: _Selection) -> None:
    if selection.labels != "full" and selection.split != "train":
        raise InvalidInputError(
            "labels: a label budget applies to the train split only, "
            f"got split '{selection.split}'; pass labels='full'"
        )
    if selection.holdout is not None and selection.split == "test":
        raise InvalidInputError(
            "holdout: it applies to the train and val splits; load test without it"
        )


def _load_real(
    card: DatasetCard,
    copy: DatasetCopy,
    selection: _Selection,
    image_size: int | None,
    skip_broken: bool,
) -> Dataset:
    faults = Faults(skip=skip_broken)
    present = READERS[copy.layout].splits(copy.folder, card)
    from_train = "test" not in present
    if from_train and "train" not in present:
        raise MissingDataError(
            f"{copy.folder}: no train or test images of {card.title}; expected {card.expects}"
        )
    official = selection.split if selection.split in present else "train"
    if selection.split == "train" and "train" not in present:
        raise MissingDataError(
            f"{copy.folder}: no training images of {card.title}; expected {card.expects}"
        )
    fit = Fit.of(card, image_size)
    listing = read_split(card, copy, official, faults)
    if skip_broken:
        listing = drop_broken_images(listing, fit, faults)
    notes = [*count_notes(card, official, listing), *listing.notes, *faults.messages]
    found_count = len(listing)
    official_count = card.official_counts.get(official, found_count)
    if from_train:
        listing, note = _split_off_test(card, listing, selection.split)
        notes.append(note)
        if selection.split == "test":
            found_count, official_count = len(listing), card.official_counts["test"]
    is_official_val = selection.split == "val" and official == "val"
    selected = listing.take(
        _select_positions(
            listing.labels, listing.image_ids, selection, is_official_val=is_official_val
        )
    )
    return Dataset(
        name=card.name,
        title=card.title,
        split=selection.split,
        source="real",
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        labels=torch.from_numpy(selected.labels.astype(np.int64)),
        image_ids=selected.image_ids,
        found_count=found_count,
        official_count=official_count,
        mean=card.mean,
        std=card.std,
        test_from_train=from_train,
        notes=tuple(notes),
        fingerprint=fingerprint(card, copy, selected, fit),
        image_source=open_images(selected, fit),
        region_source=selected.regions,
    )


def _split_off_test(card: DatasetCard, listing: SplitIndex, split: str) -> tuple[SplitIndex, str]:
    """Return the fixed fifth of the training images for `test`, the rest for other splits."""
    held = hold_out(listing.labels, listing.image_ids, TEST_FRACTION, salt="test")
    note = (
        f"{card.title}: the official test images are absent; {len(held):,} of the {len(listing):,} "
        "training images, the same share of each class, serve as test and are never trained on"
    )
    return listing.take(held if split == "test" else _complement(len(listing), held)), note


def _select_positions(
    labels: NDArray[np.int64],
    image_ids: tuple[str, ...],
    selection: _Selection,
    *,
    is_official_val: bool,
) -> Indices:
    """Apply the hold-out, the label budget and the limit, in this order."""
    positions = np.arange(len(labels), dtype=np.int64)
    if selection.split == "val" and not is_official_val and selection.holdout is None:
        raise InvalidInputError(
            "val: there is no official validation split; pass the share of train to hold out, "
            "for example holdout=0.1, and the same value for the train split"
        )
    if selection.holdout is not None and not is_official_val:
        held = hold_out(labels, image_ids, selection.holdout, salt=f"val:{selection.seed}")
        positions = held if selection.split == "val" else _complement(len(labels), held)
    if selection.labels != "full":
        budget = draw_label_budget(labels[positions], selection.labels, seed=selection.seed)
        positions = positions[budget]
    if selection.limit is not None:
        positions = positions[first_of_each_class(labels[positions], selection.limit)]
    return positions


def _complement(count: int, indices: Indices) -> Indices:
    return np.setdiff1d(np.arange(count, dtype=np.int64), indices)


def _load_standin(
    card: DatasetCard, selection: _Selection, image_size: int | None, variant: str
) -> Dataset:
    facts = card.standin
    if facts is None:
        raise MissingDataError(f"{card.title}: its card declares no stand-in; use source='real'")
    # Validation images are taken from train, so the test images stay unseen.
    official = "test" if selection.split == "test" else "train"
    scenes = draw_scenes(card.name, facts, official, image_size=image_size, variant=variant)
    ids = tuple(f"{official}/{i:05d}" for i in range(len(scenes.labels)))
    positions = _select_positions(scenes.labels.numpy(), ids, selection, is_official_val=False)
    indices = torch.from_numpy(positions)
    images = scenes.images[indices]
    digest = [f"scenes {VERSION} {variant}", images.numpy().tobytes(), *(ids[i] for i in positions)]
    note = f"{card.title}: drawn stand-in scenes, not the dataset's images"
    return Dataset(
        name=card.name,
        title=f"{card.title} stand-in",
        split=selection.split,
        source="standin",
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        labels=scenes.labels[indices],
        image_ids=tuple(ids[i] for i in positions),
        found_count=len(ids),
        official_count=len(ids),
        mean=card.mean,
        std=card.std,
        test_from_train=False,
        notes=(note,),
        fingerprint=digest_of(digest),
        image_source=ArrayImages(images),
        region_source=scenes.regions[indices],
    )
