"""A dataset by name, real or a synthetic stand-in: one split as images, or facts for plans."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Literal

import numpy as np
import torch

from lico_bench.checks import check_choice
from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.find_files import DatasetCopy, choose_images, reading
from lico_bench.data.image_files import ArrayImages, FileImages, Fit
from lico_bench.data.readers import READERS, Faults, SplitIndex, digest_of
from lico_bench.data.scenes import VERSION, draw_scenes, scene_labels
from lico_bench.data.selection import Indices, Selection, complement, hold_out
from lico_bench.data.verification import (
    count_notes,
    drop_broken_images,
    file_size,
    read_index,
)
from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.records import DatasetFacts, content_key

TEST_FRACTION = 0.2  # share of each training class that serves as test without an official test
STANDIN_NOTE = "drawn stand-in scenes, not the dataset's images"


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
    """Load one split of the dataset `name`; image files are decoded on demand.

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
        holdout: share of each training class that is moved from `train` to `val`; an official
            validation split is not used then.
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
        return _draw_standin(card, chosen, selection, image_size, variant)
    if variant != "plain":
        raise InvalidInputError(
            f"variant '{variant}' is available for stand-ins only; use source='standin'"
        )
    with reading(chosen.folder):
        return _load_copy(card, chosen, selection, Fit.of(card, image_size), Faults(skip_broken))


def describe_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    source: str = "auto",
    image_size: int | None = None,
    skip_broken: bool = False,
    holdout: float = 0.0,
    seed: int = 0,
) -> DatasetFacts:
    """Describe the dataset `name` as available on this machine; no image is decoded or drawn.

    With `skip_broken` every image is decoded, as in `load_dataset`.

    Args:
        holdout: share of each training class that serves as test; the test split is not read.
        seed: of the images held out.

    Raises:
        UnknownNameError: for a dataset without a card.
        MissingDataError: if real images are requested and missing.
        BrokenFileError: if index files are damaged or contradict the card.
    """
    card = load_card(name, root)
    chosen = choose_images(card, root, source)
    if isinstance(chosen, StandinFacts):
        return _describe_standin(card, chosen, image_size, holdout, seed)
    train, test = (
        load_dataset(name, split, root=root, source="real", image_size=image_size,
                     skip_broken=skip_broken, holdout=holdout or None, seed=seed)
        for split in ("train", "val" if holdout else "test")
    )  # fmt: skip
    found = {"train": (len(train), train.official_count), "test": (len(test), test.official_count)}
    if holdout:
        found["test"] = (len(test), len(test))
    return DatasetFacts(
        name=name,
        title=card.title,
        source="real",
        found=found,
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        image_size=test.image_size,
        has_regions=test.has_regions,
        notes=tuple(dict.fromkeys([*train.notes, *test.notes, *_holdout_notes(card, holdout)])),
        fingerprint=digest_of([train.fingerprint, test.fingerprint]),
        chance=test.chance,
    )


def _describe_standin(
    card: DatasetCard, facts: StandinFacts, image_size: int | None, holdout: float, seed: int
) -> DatasetFacts:
    size = image_size or facts.image_size
    settings = asdict(facts) | {"glyphs": dict(facts.glyphs), "version": VERSION}
    num_train, num_test = facts.train, facts.test
    if holdout:
        settings |= {"holdout": holdout, "seed": seed}
        held = Selection("val", holdout=holdout, seed=seed)
        num_test = len(held.positions(*_standin_labels(card, facts), is_official_val=False))
        num_train -= num_test
    return DatasetFacts(
        name=card.name,
        title=f"{card.title} stand-in",
        source="standin",
        found={"train": (num_train, num_train), "test": (num_test, num_test)},
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        image_size=(size, size),
        has_regions=True,
        notes=(f"{card.title}: {STANDIN_NOTE}", *_holdout_notes(card, holdout)),
        fingerprint=content_key(settings | {"size": size}),
    )


def _standin_labels(card: DatasetCard, facts: StandinFacts) -> tuple[Indices, tuple[str, ...]]:
    """Return labels and ids of the training scenes of a stand-in, which are not drawn."""
    labels = scene_labels(card.name, facts).numpy()
    return labels, tuple(f"train/{i:05d}" for i in range(len(labels)))


def _holdout_notes(card: DatasetCard, holdout: float) -> tuple[str, ...]:
    if not holdout:
        return ()
    return (
        f"{card.title}: scored on {holdout:.0%} of each training class, which is held out of "
        "training; the test images are not read",
    )


def describe_official(
    name: str, *, root: str | os.PathLike[str] | None = None, image_size: int | None = None
) -> DatasetFacts:
    """Describe the publisher's complete dataset without reading any images, for plans.

    Raises:
        UnknownNameError: for a dataset without a card.
    """
    card = load_card(name, root)
    size = image_size or card.image_size
    counts = {split: card.official_counts[split] for split in ("train", "test")}
    return DatasetFacts(
        name=name,
        title=card.title,
        source="real",
        found={split: (count, count) for split, count in counts.items()},
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        image_size=(size, size),
        has_regions=bool(card.ground_truth),
        notes=(),
        fingerprint=content_key({"official": counts}),
    )


def _load_copy(
    card: DatasetCard, copy: DatasetCopy, selection: Selection, fit: Fit, faults: Faults
) -> Dataset:
    present = READERS[copy.layout].splits(copy.folder, card)
    from_train = "test" not in present
    # Images held out are of train, also where the copy has a validation split of its own.
    is_own = selection.split in present and selection.holdout is None
    official = selection.split if is_own else "train"
    if official not in present:
        kind = "train or test" if from_train else "training"
        raise MissingDataError(
            f"{copy.folder}: no {kind} images of {card.title}; expected {card.expects}"
        )
    index = read_index(card, copy, official, faults)
    if faults.skip:
        index = drop_broken_images(index, fit, faults)
    notes = [*count_notes(card, official, index), *index.notes, *faults.messages]
    found_count, official_count = len(index), card.official_counts.get(official, len(index))
    if from_train:
        held = hold_out(index.labels, index.image_ids, TEST_FRACTION, salt="test")
        notes.append(
            f"{card.title}: the official test images are absent; {len(held):,} of the "
            f"{len(index):,} training images, the same share of each class, serve as test and "
            "are never trained on"
        )
        if selection.split == "test":
            index = index.take(held)
            found_count, official_count = len(index), card.official_counts["test"]
        else:
            index = index.take(complement(len(index), held))
    is_official_val = selection.split == official == "val"
    index = index.take(
        selection.positions(index.labels, index.image_ids, is_official_val=is_official_val)
    )
    images: ArrayImages | FileImages
    if index.pixels is None:
        images = FileImages(index.files, index.image_ids, fit)
    else:
        images = ArrayImages(torch.from_numpy(np.ascontiguousarray(index.pixels)), fit.size)
    return Dataset(
        name=card.name,
        title=card.title,
        split=selection.split,
        source="real",
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        labels=torch.from_numpy(index.labels.astype(np.int64)),
        image_ids=index.image_ids,
        found_count=found_count,
        official_count=official_count,
        mean=card.mean,
        std=card.std,
        test_from_train=from_train,
        notes=tuple(notes),
        fingerprint=_fingerprint(card, copy, index, fit),
        image_source=images,
        region_source=index.regions,
    )


def _fingerprint(card: DatasetCard, copy: DatasetCopy, index: SplitIndex, fit: Fit) -> str:
    """Return a hash of the labels, the transform, and the pixels or file names and sizes."""
    parts: list[bytes | str] = [
        card.name, copy.layout, repr(fit), index.digest, index.labels.astype("<i8").tobytes(),
        *index.image_ids,
    ]  # fmt: skip
    if index.pixels is not None:
        parts.append(np.ascontiguousarray(index.pixels).tobytes())
    parts += [file if isinstance(file, bytes) else file_size(file) for file in index.files]
    return digest_of(parts)


def _draw_standin(
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
        notes=(f"{card.title}: {STANDIN_NOTE}",),
        fingerprint=digest_of(digest),
        image_source=ArrayImages(images),
        region_source=scenes.regions[indices],
    )
