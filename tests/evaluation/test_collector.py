"""Small copies of images and maps for display."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lico_bench.evaluation.collector import IMAGE_SIDE_PX, MAP_SIDE_PX, small_map, small_png

ATOL_HALF = 2**-11  # spacing of float16 just below 1, half of which is the rounding


def test_small_map_is_kept_as_it_is_up_to_the_rounding():
    one = torch.randn(32, 20, generator=torch.Generator().manual_seed(0))
    kept = small_map(one)
    assert (kept["height"], kept["width"], kept["map"].dtype) == (32, 20, np.float16)
    restored = kept["lowest"] + (kept["highest"] - kept["lowest"]) * kept["map"].astype(float)
    span = kept["highest"] - kept["lowest"]
    np.testing.assert_allclose(restored, one.flatten(), atol=ATOL_HALF * span)


def test_large_map_is_averaged_over_areas():
    one = torch.rand(224, 112, generator=torch.Generator().manual_seed(1))
    kept = small_map(one)
    assert (kept["height"], kept["width"]) == (MAP_SIDE_PX, 28)
    blocks = one.reshape(56, 4, 28, 4).mean((1, 3)).numpy()  # the independent answer
    expected = (blocks - blocks.min()) / (blocks.max() - blocks.min())
    np.testing.assert_allclose(kept["map"].reshape(56, 28), expected, atol=ATOL_HALF)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_values_that_float16_cannot_hold_keep_their_order(scale):
    one = scale * torch.arange(12.0).reshape(3, 4)
    assert (np.diff(small_map(one)["map"].astype(float)) > 0).all()


def test_flat_map_is_zero_and_keeps_its_level():
    kept = small_map(torch.full((4, 4), 0.7))
    assert not kept["map"].any()
    assert kept["lowest"] == kept["highest"] == pytest.approx(0.7)


@pytest.mark.parametrize(("side", "kept_side"), [(32, 32), (2 * IMAGE_SIDE_PX, IMAGE_SIDE_PX)])
def test_png_of_an_image_is_small_and_of_its_colours(side, kept_side):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
    image = image.repeat_interleave(side // 8, 1).repeat_interleave(side // 8, 2)
    with Image.open(io.BytesIO(small_png(image))) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (kept_side, kept_side, 3)
    corners = pixels[:: kept_side // 8, :: kept_side // 8].transpose(2, 0, 1)
    np.testing.assert_array_equal(corners, (image[:, :: side // 8, :: side // 8] * 255).round())
    with Image.open(io.BytesIO(small_png(image[0]))) as opened:
        assert opened.mode == "L"
