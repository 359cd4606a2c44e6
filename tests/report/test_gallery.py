"""Which images the gallery shows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from lico_bench.report.gallery import (
    GROUPS,
    PER_GROUP,
    first_cells,
    map_difference,
    select_gallery_images,
)

ATOL_RANKS = 1e-12  # sums of at most 3136 ranks and their squares, in float64
SIDE = 8
maps = arrays(np.float64, (3, 12), elements=st.integers(-3, 3).map(float))


def test_difference_is_one_minus_spearmans_correlation():
    one, other = np.random.default_rng(0).normal(size=(2, 5, 64)).round(1)  # with ties
    expected = [1 - spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(map_difference(one, other), expected, atol=ATOL_RANKS)


@given(maps, maps)
def test_difference_is_symmetric_bounded_and_blind_to_a_rising_rescale(one, other):
    difference = map_difference(one, other)
    assert ((difference >= 0) & (difference <= 2)).all()
    np.testing.assert_allclose(difference, map_difference(other, one), atol=ATOL_RANKS)
    np.testing.assert_allclose(difference, map_difference(np.exp(one), other), atol=ATOL_RANKS)
    np.testing.assert_allclose(map_difference(one, one), 0, atol=ATOL_RANKS)


def test_flat_map_differs_by_one_from_any_other_and_not_from_another_flat_one():
    flat, rising = np.zeros((1, 9)), np.arange(9.0)[None]
    assert map_difference(flat, rising) == 1
    assert map_difference(flat, flat + 5) == 0
    assert map_difference(rising, -rising) == 2


def gallery_of(content, turned):
    """A gallery; the second arm's map of each image has its first `turned` pixels reversed."""
    block = content.blocks[0]
    cells = content.rows[content.rows["cell"].isin(first_cells(content, block))]
    rows = []
    for arm, cell in cells[["arm", "cell"]].drop_duplicates().itertuples(index=False):
        for number, count in enumerate(turned):
            values = np.arange(SIDE * SIDE, dtype=np.float16)
            if arm != "baseline":
                values[:count] = values[:count][::-1]
            rows.append(
                {"cell": cell, "arm": arm, "seed": 0, "image_id": f"test/{number:05d}",
                 "method": "grad_cam", "map": values, "height": SIDE, "width": SIDE}
            )  # fmt: skip
    return pd.DataFrame(rows)


def ids(picks, group):
    return [pick.by_arm["lico"]["image_id"] for pick in picks if pick.group == group]


def test_extremes_are_the_extremes_and_no_image_is_shown_twice(content):
    turned = np.random.default_rng(1).permutation(np.arange(2, 42))
    picks = select_gallery_images(
        content, content.blocks[0], gallery_of(content, turned), "grad_cam"
    )
    order = [f"test/{k:05d}" for k in np.argsort(turned)]
    assert ids(picks, "least") == order[:PER_GROUP]
    assert ids(picks, "most") == order[::-1][:PER_GROUP]
    every = [name for group in GROUPS for name in ids(picks, group)]
    assert len(every) == len(set(every)) == 3 * PER_GROUP
    for pick in picks:
        number = int(pick.by_arm["lico"]["image_id"][-5:])
        one, other = (pick.by_arm[arm]["map"] for arm in ("baseline", "lico"))
        assert pick.difference == pytest.approx(1 - spearmanr(one, other).statistic)
        assert (other[: turned[number]] == one[: turned[number]][::-1]).all()


def test_equal_rows_give_equal_picks_in_any_order_of_the_rows(content):
    gallery = gallery_of(content, range(2, 32))
    shuffled = gallery.sample(frac=1, random_state=3)
    first, again = (
        [(pick.group, pick.by_arm["lico"]["image_id"])
         for pick in select_gallery_images(content, content.blocks[0], one, "grad_cam")]
        for one in (gallery, shuffled)
    )  # fmt: skip
    assert first == again


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, (0, 0, 0)), (1, (0, 0, 1)), (2, (0, 0, 2)), (3, (1, 1, 1)), (7, (2, 2, 3))],
)
def test_few_images_are_shared_out_and_called_random_first(content, count, expected):
    gallery = gallery_of(content, [2]).iloc[:0]
    if count:
        gallery = gallery_of(content, [5] * count)
    picks = select_gallery_images(content, content.blocks[0], gallery, "grad_cam")
    assert tuple(len(ids(picks, group)) for group in GROUPS) == expected


def test_images_that_an_arm_lacks_are_left_out(content):
    gallery = gallery_of(content, [5] * 12)
    lost = (gallery["arm"] == "lico") & (gallery["image_id"] == "test/00003")
    picks = select_gallery_images(content, content.blocks[0], gallery[~lost], "grad_cam")
    assert "test/00003" not in [name for group in GROUPS for name in ids(picks, group)]
    assert all(list(pick.by_arm) == ["baseline", "lico"] for pick in picks)


def test_picks_of_a_run_are_of_its_first_seed_and_hold_the_image(content):
    block = content.blocks[1]
    gallery = content.run.gallery(first_cells(content, block))
    picks = select_gallery_images(content, block, gallery, "grad_cam")
    assert len(picks) == 6
    rows = [row for pick in picks for row in pick.by_arm.values()]
    assert {row["seed"] for row in rows} == {0}
    assert all(row["image_png"].startswith(b"\x89PNG") for row in rows)
