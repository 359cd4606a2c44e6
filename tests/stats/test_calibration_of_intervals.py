"""Experiments whose truth is known: how often intervals hold it, how often tests are wrong.

`benchmarks/paired_statistics.py --calibration` prints the same for more settings and trials.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from lico_bench.stats import two_level
from lico_bench.stats.significance import crossed_tests, sign_flip_test

TRIALS = 600
RESAMPLES = 999
# Two standard errors of a share of 0.95 or 0.05 in 600 trials.
SLACK = 0.018
BAR = 0.075  # 1.5 times the level


class Noise(NamedTuple):
    """Standard deviations of what trainings, images and both together add."""

    seeds: float
    images: float
    both: float


# (trainings matter not at all, as much as the images, much more), (images agree or do not)
NOISES = [
    Noise(seeds, images, both)
    for images, both in ((1.0, 0.2), (0.3, 1.0))
    for seeds in (0.0, 0.1, 0.5)
]


class Shares(NamedTuple):
    covered: np.ndarray  # whether the interval holds the truth
    p_value: np.ndarray  # of no effect, where there is none
    p_images: np.ndarray
    p_equivalent: np.ndarray  # where the effect is as large as matters


def draw(noise, *, num_seeds, num_images, skewed=False):
    """(S, I, trials) with mean zero; every column is one experiment."""
    generator = np.random.default_rng([num_seeds, num_images, *(int(100 * sd) for sd in noise)])
    of_images = generator.exponential if skewed else generator.normal
    shift = -1.0 if skewed else 0.0
    size = (num_seeds, num_images, TRIALS)
    values = noise.seeds * generator.normal(size=(num_seeds, 1, TRIALS))
    values = values + noise.images * (of_images(size=(1, num_images, TRIALS)) + shift)
    return values + noise.both * (of_images(size=size) + shift)


def judge(values, margin):
    found = two_level(values, resamples=RESAMPLES)
    at_the_edge = crossed_tests(values + margin).p_equivalent(np.full(values.shape[2], margin))
    covered = (found.low <= 0) & (found.high >= 0)
    p_images = sign_flip_test(values, resamples=RESAMPLES)
    return Shares(covered, crossed_tests(values).p_value, p_images, at_the_edge)


@cache
def simulated(noise, num_seeds, num_images=100, skewed=False):
    values = draw(noise, num_seeds=num_seeds, num_images=num_images, skewed=skewed)
    error = np.sqrt(
        noise.seeds**2 / num_seeds + (noise.images**2 + noise.both**2 / num_seeds) / num_images
    )
    return judge(values, 4 * error)  # so far from zero that only one of the two tests can fail


@pytest.mark.parametrize("num_images", [20, 100])
@pytest.mark.parametrize("noise", NOISES)
def test_five_seeds_cover_93_to_97_percent_and_tests_err_as_often_as_they_say(noise, num_images):
    found = simulated(noise, 5, num_images)
    assert 0.93 - SLACK <= found.covered.mean() <= 0.97 + SLACK
    assert (found.p_value <= 0.05).mean() <= BAR + SLACK
    assert (found.p_equivalent <= 0.05).mean() <= BAR + SLACK


@pytest.mark.parametrize(("num_seeds", "lowest"), [(3, 0.91), (2, 0.86)])
def test_few_seeds_cover_what_the_docstring_says(num_seeds, lowest):
    for noise in NOISES:
        found = simulated(noise, num_seeds)
        assert found.covered.mean() >= lowest - SLACK, noise
        assert (found.p_value <= 0.05).mean() <= BAR + SLACK, noise


def test_skewed_differences_need_more_images_as_the_docstring_says():
    found = simulated(Noise(0.1, 1.0, 0.2), 5, 100, skewed=True)
    assert 0.93 - SLACK <= found.covered.mean() <= 0.97 + SLACK
    assert (found.p_value <= 0.05).mean() <= 0.07 + SLACK


@pytest.mark.parametrize("num_images", [20, 100])
def test_p_values_are_uniform_without_an_effect(num_images):
    found = simulated(Noise(0.0, 1.0, 0.2), 1, num_images)
    assert stats.kstest(found.p_value, "uniform").pvalue > 0.01
    for level in (0.01, 0.05, 0.1):
        share = (found.p_value <= level).mean()
        assert share == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / TRIALS))


def test_p_values_of_both_levels_are_uniform_where_the_trainings_rule():
    found = simulated(Noise(0.5, 1.0, 0.2), 5)
    assert stats.kstest(found.p_value, "uniform").pvalue > 0.01
    # The images alone would call every second pair of arms different.
    assert (found.p_images <= 0.05).mean() > 0.3


def test_one_seed_says_nothing_of_the_next_training():
    found = simulated(Noise(0.5, 1.0, 0.2), 1)
    assert found.covered.mean() < 0.5


@pytest.mark.parametrize("num_images", [100, 500])
def test_hits_that_rarely_differ_are_seldom_called_different_or_equivalent(num_images):
    generator = np.random.default_rng(num_images)
    rate = 5 / num_images  # five images to lose on average
    lost = -(generator.random((1, num_images, TRIALS)) < rate).astype(float)
    signs = generator.choice([-1, 1], lost.shape)
    hits = np.ones(TRIALS, dtype=bool)
    none, edge = crossed_tests(lost * signs, hits=hits), crossed_tests(lost, hits=hits)
    assert (none.p_value <= 0.05).mean() <= 0.05 + SLACK
    assert (edge.p_equivalent(np.full(TRIALS, rate)) <= 0.05).mean() <= 0.05 + SLACK
