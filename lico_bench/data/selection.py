"""Which images of a split are used: label budgets, hold-outs and limits, all balanced by class."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError

Indices = NDArray[np.int64]
TEST_FRACTION = 0.2  # of each class of train, where the official test is absent


def draw_label_budget(labels: NDArray[np.int64], num_labels: int, *, seed: int) -> Indices:
    """Positions of `num_labels` images, the same number of each class, sorted.

    Source: `split_ssl_data` of the LICO authors' code, after TorchSSL: classes in index order,
        drawn without replacement from NumPy's legacy generator, seed 0.
    Differs: classes without any image are left out of the count, for incomplete copies.

    Raises:
        InvalidInputError: if the number does not divide evenly or a class has too few images.
    """
    check_count("labels", num_labels)
    classes = np.unique(labels)
    if num_labels % len(classes):
        raise InvalidInputError(
            f"labels: expected a multiple of the {len(classes)} classes present, got {num_labels}; "
            f"{max(1, num_labels // len(classes)) * len(classes)} is the nearest below"
        )
    share = num_labels // len(classes)
    # The published subsets can only be drawn again with the generator they were drawn with.
    generator = np.random.RandomState(seed)
    chosen = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        if len(members) < share:
            raise InvalidInputError(
                f"labels: {num_labels} needs {share} images of each class, class {label} has "
                f"{len(members)}; use at most {_smallest_class(labels) * len(classes)}"
            )
        chosen.append(generator.choice(members, share, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def hold_out(
    labels: NDArray[np.int64], image_ids: tuple[str, ...], fraction: float, *, salt: str
) -> Indices:
    """Positions of about `fraction` of each class, chosen by a hash of the image ids, sorted.

    The choice depends on ids and `salt` alone, so that it is the same on every machine. At least
    one image of a class is taken and one left; a class with a single image keeps it.
    """
    if not 0 < fraction < 1:
        raise InvalidInputError(f"holdout: expected a share between 0 and 1, got {fraction}")
    rank = np.array([_hash(f"{salt}:{name}") for name in image_ids], dtype=np.uint64)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            # Half is rounded up: Python's rounding to even would depend on the class size.
            wanted = math.floor(fraction * len(members) + 0.5)
            count = min(max(1, wanted), len(members) - 1)
            chosen.append(members[np.argsort(rank[members], kind="stable")[:count]])
    if not chosen:
        raise InvalidInputError(
            "holdout: every class has a single image, none can be held out; find more images"
        )
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def first_of_each_class(labels: NDArray[np.int64], limit: int) -> Indices:
    """Positions of `limit` images: the first of every class, then the second, and so on, sorted.

    Plainly the first `limit` would be of one class in a dataset stored class by class.
    """
    check_count("limit", limit)
    nth = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        nth[members] = np.arange(len(members))
    taken = np.lexsort((labels, nth))[:limit]
    return np.sort(taken).astype(np.int64)


def _smallest_class(labels: NDArray[np.int64]) -> int:
    return int(np.unique(labels, return_counts=True)[1].min())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
