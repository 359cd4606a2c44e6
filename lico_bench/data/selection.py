"""Class-balanced selection of images: label budgets, hold-outs and limits."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError

Indices = NDArray[np.int64]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Selection:
    """Requested images of a split; the arguments of `load_dataset`.

    Raises:
        InvalidInputError: for options that do not fit the split.
    """

    split: str
    labels: int | Literal["full"] = "full"
    limit: int | None = None
    holdout: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        if self.labels != "full" and self.split != "train":
            raise InvalidInputError(
                "labels: a label budget applies to the train split only, "
                f"got split '{self.split}'; pass labels='full'"
            )
        if self.holdout is not None and self.split == "test":
            raise InvalidInputError(
                "holdout: it applies to the train and val splits; load test without it"
            )

    def positions(
        self, labels: NDArray[np.int64], image_ids: tuple[str, ...], *, is_official_val: bool
    ) -> Indices:
        """Apply the hold-out, the label budget and the limit, in this order."""
        selected = np.arange(len(labels), dtype=np.int64)
        if not is_official_val:
            if self.split == "val" and self.holdout is None:
                raise InvalidInputError(
                    "val: there is no official validation split; pass the share of train to hold "
                    "out, for example holdout=0.1, and the same value for the train split"
                )
            if self.holdout is not None:
                held = hold_out(labels, image_ids, self.holdout, salt=holdout_salt(self.seed))
                selected = held if self.split == "val" else complement(len(labels), held)
        if self.labels != "full":
            selected = selected[draw_label_budget(labels[selected], self.labels, seed=self.seed)]
        if self.limit is not None:
            selected = selected[first_of_each_class(labels[selected], self.limit)]
        return selected


def draw_label_budget(labels: NDArray[np.int64], num_labels: int, *, seed: int) -> Indices:
    """Draw `num_labels` images, the same number of each class; returns sorted positions.

    Source: `split_ssl_data` of the LICO authors' code, after TorchSSL: classes in index order,
        drawn without replacement from NumPy's legacy generator, seed 0.
    Differs: classes without images are not counted, for incomplete copies.

    Raises:
        InvalidInputError: if the number does not divide evenly or a class has too few images.
    """
    check_count("labels", num_labels)
    classes = np.unique(labels)
    if num_labels % len(classes):
        raise InvalidInputError(
            f"labels: expected a multiple of the {len(classes)} classes present, got {num_labels}; "
            f"use {max(1, num_labels // len(classes)) * len(classes)}"
        )
    per_class = num_labels // len(classes)
    # The published subsets can only be reproduced with NumPy's legacy generator.
    generator = np.random.RandomState(seed)
    positions = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            smallest = int(np.unique(labels, return_counts=True)[1].min())
            raise InvalidInputError(
                f"labels: {num_labels} labels require {per_class} images per class, class {label} "
                f"has {len(members)}; use at most {smallest * len(classes)}"
            )
        positions.append(generator.choice(members, per_class, replace=False))
    return np.sort(np.concatenate(positions)).astype(np.int64)


def holdout_salt(seed: int) -> str:
    """Return the `salt` with which `hold_out` selects the validation split of a seed."""
    return f"val:{seed}"


def hold_out(
    labels: NDArray[np.int64], image_ids: tuple[str, ...], fraction: float, *, salt: str
) -> Indices:
    """Select about `fraction` of each class by a hash of the image ids; returns sorted positions.

    The selection depends only on the ids and `salt`, so it is the same on every machine. At least
    one image of a class is selected and one remains; a class with a single image is skipped.

    Raises:
        InvalidInputError: if `fraction` is not in (0, 1) or no class has two images.
    """
    if not 0 < fraction < 1:
        raise InvalidInputError(
            f"holdout: expected a share between 0 and 1, got {fraction}; use for example 0.1"
        )
    hashes = (hashlib.sha256(f"{salt}:{name}".encode()).digest() for name in image_ids)
    rank = np.array([int.from_bytes(each[:8], "big") for each in hashes], dtype=np.uint64)
    positions = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            # Round half up: Python's rounding to even would depend on the class size.
            rounded = math.floor(fraction * len(members) + 0.5)
            count = min(max(1, rounded), len(members) - 1)
            positions.append(members[np.argsort(rank[members], kind="stable")[:count]])
    if not positions:
        raise InvalidInputError(
            "holdout: every class has a single image, so none can be held out; add more images"
        )
    return np.sort(np.concatenate(positions)).astype(np.int64)


def first_of_each_class(labels: NDArray[np.int64], limit: int) -> Indices:
    """Select `limit` images, the classes in turn; returns sorted positions.

    The first `limit` images would all be of one class in a dataset stored class by class.
    """
    check_count("limit", limit)
    rank_in_class = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank_in_class[members] = np.arange(len(members))
    selected = np.lexsort((labels, rank_in_class))[:limit]
    return np.sort(selected).astype(np.int64)


def complement(count: int, indices: Indices) -> Indices:
    """Return the positions below `count` that are not in `indices`, sorted."""
    return np.setdiff1d(np.arange(count, dtype=np.int64), indices)
