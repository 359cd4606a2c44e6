from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.data.selection import draw_label_budget, first_of_each_class, hold_out
from lico_bench.errors import InvalidInputError

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60).map(np.array)


def test_label_budget_is_the_published_draw() -> None:
    labels = np.random.default_rng(3).integers(0, 10, 500)
    # The published rule: seed once, then one draw per class in index order.
    np.random.seed(0)  # noqa: NPY002
    expected = []
    for label in range(10):
        members = np.where(labels == label)[0]
        expected.extend(np.random.choice(members, 4, False))  # noqa: NPY002
    drawn = draw_label_budget(labels, 40, seed=0)
    assert drawn.tolist() == sorted(expected)


@given(labels=LABELS, seed=st.integers(0, 5))
def test_label_budget_takes_the_same_number_of_each_class(labels: np.ndarray, seed: int) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    share = int(counts.min())
    drawn = draw_label_budget(labels, share * len(classes), seed=seed)
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.unique(labels[drawn], return_counts=True)[1].tolist() == [share] * len(classes)


def test_label_budget_that_does_not_divide_says_which_does() -> None:
    with pytest.raises(InvalidInputError, match=r"multiple of the 10 classes.*got 45; use 40"):
        draw_label_budget(np.arange(100) % 10, 45, seed=0)


def test_label_budget_above_the_smallest_class_says_what_is_possible() -> None:
    labels = np.array([0, 0, 0, 1])
    with pytest.raises(InvalidInputError, match=r"class 1 has 1; use at most 2"):
        draw_label_budget(labels, 4, seed=0)


@given(labels=LABELS, fraction=st.floats(0.05, 0.95))
def test_hold_out_takes_from_and_leaves_to_every_class(labels: np.ndarray, fraction: float) -> None:
    ids = tuple(f"image {i}" for i in range(len(labels)))
    counts = np.bincount(labels, minlength=5)
    if counts.max() < 2:
        with pytest.raises(InvalidInputError, match="single image"):
            hold_out(labels, ids, fraction, salt="test")
        return
    held = np.bincount(labels[hold_out(labels, ids, fraction, salt="test")], minlength=5)
    assert ((held > 0) == (counts > 1)).all()
    assert (held <= np.maximum(counts - 1, 0)).all()
    large = counts > 1
    assert (np.abs(held - fraction * counts)[large] <= 1).all()


@given(order=st.permutations(range(12)))
def test_hold_out_depends_on_names_and_not_on_their_order(order: list[int]) -> None:
    labels = np.arange(12) % 3
    ids = tuple(f"image {i}" for i in range(12))
    expected = {ids[i] for i in hold_out(labels, ids, 0.25, salt="test")}
    shuffled = tuple(ids[i] for i in order)
    held = hold_out(labels[order], shuffled, 0.25, salt="test")
    assert {shuffled[i] for i in held} == expected


def test_hold_out_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        hold_out(np.array([0, 0]), ("a", "b"), 1.0, salt="test")


@given(labels=LABELS, limit=st.integers(1, 70))
def test_limit_takes_the_first_of_each_class_in_turn(labels: np.ndarray, limit: int) -> None:
    # Slow reference: rounds over the classes, each gives its next image.
    queues = [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    expected: list[int] = []
    while any(queues) and len(expected) < limit:
        for queue in queues:
            if queue and len(expected) < limit:
                expected.append(int(queue.pop(0)))
    assert first_of_each_class(labels, limit).tolist() == sorted(expected)
