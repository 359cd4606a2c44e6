"""Cached draws equal new draws, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from lico_bench.stats import draw_cache
from lico_bench.stats.draw_cache import image_signs, image_weights


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch):
    monkeypatch.setattr(draw_cache, "_cache", type(draw_cache._cache)())


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
def test_cached_draws_are_the_drawn_ones(draw):
    first = draw(300)
    assert draw_cache._cache
    np.testing.assert_array_equal(draw(300), first)


@pytest.mark.parametrize("chunk", [1, 100, 999])
def test_chunk_size_changes_no_draw(chunk: int, monkeypatch):
    whole = weights(50)
    draw_cache._cache.clear()
    monkeypatch.setattr(draw_cache, "_DRAW_CHUNK", chunk)
    np.testing.assert_array_equal(weights(50), whole)


def test_another_number_of_images_has_other_draws():
    assert weights(50).shape != weights(51).shape
    assert len(draw_cache._cache) == 2


def test_cache_size_is_bounded(monkeypatch):
    monkeypatch.setattr(draw_cache, "CACHE_BYTES", 30_000)
    for num_images in (40, 41, 42, 43, 100):
        weights(num_images)
    kept = sum(block.nbytes for blocks in draw_cache._cache.values() for block in blocks)
    assert 0 < kept <= 30_000
    assert ("weights", 100, 200, 3) not in draw_cache._cache  # too large for the cache
