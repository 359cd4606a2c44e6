"""Which images the gallery shows, and how they are carried on the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.stats import spearmanr

from lico_bench.report.figures.canvas import heat_colours
from lico_bench.report.gallery import (
    GROUPS,
    MAX_MAPS,
    PER_GROUP,
    SHADES,
    _per_group,
    first_cells,
    heat_uri,
    image_uri,
    map_difference,
    select_gallery_images,
)

ATOL_RANKS = 1e-12  # sums of at most 3136 ranks and their squares, in float64
SIDE = 8
STEEPEST = 5  # slope of a channel of the colour map, over values in [0, 1]
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


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_map_is_coloured_from_its_lowest_to_its_highest_value():
    values = np.linspace(-3, 5, 48, dtype=np.float32)
    row = {"map": values, "height": 6, "width": 8}
    pixels = np.asarray(decoded(heat_uri(row)).convert("RGBA")).reshape(-1, 4)
    wanted = 255 * heat_colours((values.astype(float) + 3) / 8)[:, :3]
    assert np.abs(pixels[:, :3] - wanted).max() <= STEEPEST * 255 / (SHADES - 1) / 2  # half a shade
    assert (np.diff(pixels[:, 3].astype(int)) >= 0).all()
    assert pixels[0, 3] < 100 < 200 < pixels[-1, 3]


def test_a_flat_map_is_drawn_as_low_everywhere():
    flat = {"map": np.full(4, 7.0), "height": 2, "width": 2}
    pixels = np.asarray(decoded(heat_uri(flat)).convert("RGBA")).reshape(-1, 4)
    assert (pixels == pixels[0]).all()


def test_large_images_are_carried_small_and_small_ones_as_they_are():
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(stream, "PNG")
    large = image_uri(stream.getvalue())
    assert large.startswith("data:image/jpeg")
    assert decoded(large).size == (224, 168)
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(stream, "PNG")
    assert base64.b64decode(image_uri(stream.getvalue()).partition(",")[2]) == stream.getvalue()


@pytest.mark.parametrize("galleries", [1, 8, 24, 80])
@pytest.mark.parametrize("arms", [2, 11])
def test_the_number_of_maps_on_a_page_is_bounded(galleries, arms):
    shown = 3 * galleries * arms * _per_group(galleries, arms)
    assert shown <= max(MAX_MAPS, 3 * galleries * arms)
