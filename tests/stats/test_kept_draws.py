"""Draws that are kept: the same numbers as drawn anew, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from lico_bench.stats import draw_cache
from lico_bench.stats.draw_cache import image_signs, image_weights


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(draw_cache, "_kept", type(draw_cache._kept)())


def weights(num_images: int) -> np.ndarray:
    return np.concatenate([w.copy() for w in image_weights(num_images, resamples=200, seed=3)])


def signs(num_images: int) -> np.ndarray:
    blocks = image_signs(num_images, resamples=200, rows=64, seed=3)
    return np.concatenate([signs.copy() for signs in blocks])


def test_weights_are_counts_of_the_generators_draws():
    drawn = np.random.default_rng([3, 50]).integers(0, 50, (200, 50), dtype=np.int64)
    slow = np.array([[(row == image).sum() for image in range(50)] for row in drawn])
    np.testing.assert_array_equal(weights(50), slow)


def test_signs_are_the_generators_bits():
    generator = np.random.default_rng([3, 13, 2])
    packed = [generator.integers(0, 256, (rows, 2), dtype=np.uint8) for rows in (64, 64, 64, 8)]
    bits = np.unpackbits(np.concatenate(packed), axis=1)[:, :13]
    np.testing.assert_array_equal(signs(13), bits.astype(np.float32) * 2 - 1)


@pytest.mark.parametrize("draw", [weights, signs])
def test_what_is_kept_is_what_was_drawn(draw):
    first = draw(300)
    assert draw_cache._kept
    np.testing.assert_array_equal(draw(300), first)


@pytest.mark.parametrize("piece", [1, 100, 999])
def test_the_size_of_a_piece_changes_no_draw(piece: int, monkeypatch):
    whole = weights(50)
    draw_cache._kept.clear()
    monkeypatch.setattr(draw_cache, "_PIECE", piece)
    np.testing.assert_array_equal(weights(50), whole)


def test_another_number_of_images_has_other_draws():
    assert weights(50).shape != weights(51).shape
    assert len(draw_cache._kept) == 2


def test_kept_draws_do_not_grow_without_bound(monkeypatch):
    monkeypatch.setattr(draw_cache, "KEPT_BYTES", 30_000)
    for num_images in (40, 41, 42, 43, 100):
        weights(num_images)
    kept = sum(block.nbytes for blocks in draw_cache._kept.values() for block in blocks)
    assert 0 < kept <= 30_000
    assert ("weights", 100, 200, 3) not in draw_cache._kept  # too large to push the others out


def test_draws_left_half_way_are_not_kept(monkeypatch):
    monkeypatch.setattr(draw_cache, "_CHUNK", 1000)
    next(image_weights(50, resamples=200, seed=3))
    assert not draw_cache._kept
    assert weights(50).shape == (200, 50)
