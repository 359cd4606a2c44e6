from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lico_bench.errors import InvalidInputError
from lico_bench.stats import bootstrap, two_level
from lico_bench.stats.bootstrap import image_signs, image_weights

# With 10,000 draws the end of an interval has an error of about 1 % of the half-width; three times
# that, and as much for the 3,000 draws of the slow loop.
RTOL_DRAWS = 0.06


def slow_two_level(values, *, resamples, seed):
    """Bootstrap the image level in a plain loop: draw images, average each seed, then the seeds."""
    generator = np.random.default_rng(seed)
    num_images = values.shape[1]
    draws = []
    for _ in range(resamples):
        drawn = values[:, generator.integers(0, num_images, num_images)]
        draws.append(np.mean([np.nanmean(one) for one in drawn]))
    return np.std(draws)


def test_means_and_per_seed_means_are_the_plain_ones():
    values = np.random.default_rng(0).normal(size=(3, 40, 2))
    found = two_level(values)
    np.testing.assert_allclose(found.per_seed, values.mean(1))
    np.testing.assert_allclose(found.mean, values.mean((0, 1)))
    assert found.num_images.tolist() == [40, 40]
    assert found.num_seeds.tolist() == [3, 3]


def test_image_part_agrees_with_a_slow_loop_over_draws():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(3, 60)) + generator.normal(size=60)
    values[1, :20] = np.nan
    found = two_level(values[..., None])
    slow = slow_two_level(values, resamples=3000, seed=2)
    np.testing.assert_allclose(found.image_part, slow, rtol=RTOL_DRAWS)


@pytest.mark.parametrize("num_images", [12, 400])
def test_one_seed_gives_the_interval_of_the_images_alone(num_images):
    values = np.random.default_rng(2).normal(size=(1, num_images, 1))
    found = two_level(values)
    error = stats.sem(values, axis=1)[0, 0]
    low, high = stats.t.interval(0.95, num_images - 1, values.mean(), error)
    assert np.isnan(found.seed_part[0])
    np.testing.assert_allclose(
        [found.low[0], found.high[0]] - values.mean(),
        [low, high] - values.mean(),
        rtol=RTOL_DRAWS,
    )


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_seed_noise_alone_gives_students_interval(num_seeds):
    generator = np.random.default_rng(3)
    per_seed = generator.normal(size=num_seeds)
    values = np.repeat(per_seed[:, None], 50, axis=1)[..., None]
    found = two_level(values)
    expected = stats.t.interval(0.95, num_seeds - 1, per_seed.mean(), stats.sem(per_seed))
    np.testing.assert_allclose([found.low[0], found.high[0]], expected, rtol=0.01, atol=0.005)
    assert found.image_part[0] == pytest.approx(0, abs=1e-12)


def test_noise_of_single_images_is_not_counted_as_seed_noise():
    parts = []
    for draw in range(200):
        values = np.random.default_rng(draw).normal(size=(5, 100, 1))
        parts.append(two_level(values, resamples=100).seed_part[0] ** 2)
    # Without the correction the mean would be 1 / 500; clipped at zero, it is a fifth of that.
    assert np.mean(parts) < 0.4 / 500


@given(st.integers(1, 4), st.integers(2, 12), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_shift_and_scale_carry_over_to_the_interval(num_seeds, num_images, draw):
    values = np.random.default_rng(draw).normal(size=(num_seeds, num_images, 1))
    plain = two_level(values, resamples=200)
    moved = two_level(3 + 2 * values, resamples=200)
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(
            getattr(moved, name), 3 + 2 * getattr(plain, name), rtol=1e-4, atol=1e-4
        )


def test_column_does_not_depend_on_its_neighbours():
    generator = np.random.default_rng(5)
    values = generator.normal(size=(3, 30, 4))
    values[0, :10, 2] = np.nan
    together = two_level(values)
    for column in range(4):
        alone = two_level(values[..., [column]])
        np.testing.assert_allclose(together.low[column], alone.low[0], rtol=1e-5)
        np.testing.assert_allclose(together.image_part[column], alone.image_part[0])


def test_equal_input_gives_equal_output():
    values = np.random.default_rng(6).normal(size=(2, 30, 1))
    assert two_level(values).low == two_level(values).low
    assert two_level(values).low != two_level(values, seed=1).low


def test_wider_interval_holds_the_narrower_one():
    values = np.random.default_rng(7).normal(size=(3, 30, 1))
    wide, narrow = two_level(values, interval=0.99), two_level(values, interval=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_image_has_a_mean_and_no_interval():
    found = two_level(np.array([[[0.5]], [[0.7]]]))
    assert found.mean[0] == pytest.approx(0.6)
    assert np.isnan([found.low[0], found.high[0], found.image_part[0]]).all()


def test_column_without_values_has_no_mean_and_spoils_nothing():
    values = np.random.default_rng(8).normal(size=(2, 20, 2))
    values[..., 0] = np.nan
    found = two_level(values)
    assert np.isnan(found.mean[0])
    assert found.num_images.tolist() == [0, 20]
    assert np.isfinite(found.low[1])


def test_zero_variance_gives_an_interval_of_no_width():
    found = two_level(np.full((3, 20, 1), 0.25))
    assert found.low[0] == found.high[0] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.zeros((2, 3)), {}, "expected \\(seeds, images, columns\\)"),
        (np.full((1, 2, 1), np.inf), {}, "infinity"),
        (np.zeros((1, 2, 1)), {"interval": 95}, "between 0 and 1"),
        (np.zeros((1, 2, 1)), {"resamples": 5}, "at least 100"),
    ],
)
def test_bad_input_is_named(values, options, words):
    with pytest.raises(InvalidInputError, match=words):
        two_level(values, **options)


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch):
    monkeypatch.setattr(bootstrap, "_cache", type(bootstrap._cache)())


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
    assert bootstrap._cache
    np.testing.assert_array_equal(draw(300), first)


@pytest.mark.parametrize("chunk", [1, 100, 999])
def test_chunk_size_changes_no_draw(chunk: int, monkeypatch):
    whole = weights(50)
    bootstrap._cache.clear()
    monkeypatch.setattr(bootstrap, "_DRAW_CHUNK", chunk)
    np.testing.assert_array_equal(weights(50), whole)


def test_another_number_of_images_has_other_draws():
    assert weights(50).shape != weights(51).shape
    assert len(bootstrap._cache) == 2


def test_cache_size_is_bounded(monkeypatch):
    monkeypatch.setattr(bootstrap, "CACHE_BYTES", 30_000)
    for num_images in (40, 41, 42, 43, 100):
        weights(num_images)
    kept = sum(block.nbytes for blocks in bootstrap._cache.values() for block in blocks)
    assert 0 < kept <= 30_000
    assert ("weights", 100, 200, 3) not in bootstrap._cache  # too large for the cache
