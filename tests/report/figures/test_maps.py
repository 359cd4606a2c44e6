"""Colours of saliency maps."""

from __future__ import annotations

import numpy as np

from lico_bench.report.figures.maps import map_overlay


def test_heat_is_brightest_and_least_transparent_where_the_map_is_highest():
    values = np.zeros((4, 5), dtype=np.float32)
    values[2, 3] = 7.0
    pixels = map_overlay(values)
    assert pixels.shape == (4, 5, 4)
    assert np.unravel_index(pixels[..., :3].sum(2).argmax(), (4, 5)) == (2, 3)
    assert np.unravel_index(pixels[..., 3].argmax(), (4, 5)) == (2, 3)


def test_flat_map_is_drawn_without_a_warning():
    flat = np.full((2, 3), 0.5, dtype=np.float32)
    assert len(np.unique(map_overlay(flat).reshape(-1, 4), axis=0)) == 1
