from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lico_bench.stats.crossed import crossed_tests


def slow_p_value(values):
    """The definition by loops over the seeds and images of (S, I) values."""
    num_seeds, num_images = values.shape
    mean = values.mean()
    seeds = sum((row.mean() - mean) ** 2 for row in values) / (num_seeds - 1) / num_seeds
    images = sum((column.mean() - mean) ** 2 for column in values.T) / (num_images - 1) / num_images
    rest = 0.0
    for s in range(num_seeds):
        for i in range(num_images):
            rest += (values[s, i] - values[s].mean() - values[:, i].mean() + mean) ** 2
    freedom = (num_seeds - 1) * (num_images - 1)
    rest /= freedom * num_seeds * num_images
    variance, crossed = images, num_images - 1.0
    if seeds > rest:
        variance = seeds + images - rest
        parts = seeds**2 / (num_seeds - 1) + images**2 / (num_images - 1) + rest**2 / freedom
        crossed = variance**2 / parts
    by_seeds = 2 * stats.t.sf(abs(mean) / np.sqrt(seeds), num_seeds - 1)
    return max(by_seeds, 2 * stats.t.sf(abs(mean) / np.sqrt(variance), crossed))


@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("num_seeds", [2, 3, 7])
def test_the_p_value_agrees_with_a_loop_over_the_definition(seed_sd, num_seeds):
    generator = np.random.default_rng(num_seeds)
    values = generator.normal(0.1, 1, (num_seeds, 40, 5))
    values += seed_sd * generator.normal(size=(num_seeds, 1, 5)) + generator.normal(size=(1, 40, 5))
    expected = [slow_p_value(values[..., column]) for column in range(5)]
    np.testing.assert_allclose(crossed_tests(values).p_value, expected, rtol=1e-9)


def test_one_seed_gives_the_paired_t_test():
    ours, theirs = np.random.default_rng(0).normal([[0.0], [0.3]], 1, (2, 50))
    found = crossed_tests((theirs - ours)[None, :, None])
    assert found.p_value[0] == pytest.approx(stats.ttest_rel(theirs, ours).pvalue, rel=1e-9)
    expected = ttost_paired(theirs, ours, -0.5, 0.5)[0]
    assert found.p_equivalent(np.array([0.5]))[0] == pytest.approx(expected, rel=1e-9)


def test_seeds_that_rule_give_students_test_of_their_means():
    per_seed = np.random.default_rng(1).normal(0.8, 1, 5)
    values = np.repeat(per_seed[:, None], 400, axis=1)[..., None]
    expected = stats.ttest_1samp(per_seed, 0).pvalue
    assert crossed_tests(values).p_value[0] == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_bounds_and_p_values_agree_and_sign_scale_and_order_do_not_matter(seeds, images, draw):
    generator = np.random.default_rng(draw)
    values = generator.normal(0.2, 1, (seeds, images, 1)) + generator.normal(size=(seeds, 1, 1))
    found = crossed_tests(values)
    lower, upper = found.bounds
    assert found.p_above(lower)[0] == pytest.approx(0.05, rel=1e-6)
    assert found.p_below(upper)[0] == pytest.approx(0.05, rel=1e-6)
    effect = np.abs([max(-lower[0], upper[0])])
    assert found.p_equivalent(effect)[0] == pytest.approx(0.05, rel=1e-6)
    turned = crossed_tests(-3 * generator.permutation(values, axis=1))
    assert turned.p_value[0] == pytest.approx(found.p_value[0], rel=1e-6)


def test_a_loss_in_five_of_five_trainings_is_found():
    """Means of -7 points with a standard deviation of 2 points between trainings."""
    per_seed = np.array([-0.10, -0.06, -0.05, -0.08, -0.07])
    generator = np.random.default_rng(2)
    won = generator.random((5, 2000)) < 0.1
    lost = generator.random((5, 2000)) < 0.1 - per_seed[:, None]
    values = (won.astype(float) - lost)[..., None]
    assert crossed_tests(values, hits=np.array([True])).p_value[0] < 0.01


def test_images_that_a_seed_lacks_are_left_out_of_its_mean():
    generator = np.random.default_rng(3)
    values = generator.normal(0.3, 1, (3, 60, 2))
    values[1, :6, 1] = np.nan
    found = crossed_tests(values)
    per_seed = [values[0, :, 1].mean(), values[1, 6:, 1].mean(), values[2, :, 1].mean()]
    assert found.difference[1] == pytest.approx(np.mean(per_seed))
    assert found.errors[0, 1] == pytest.approx(stats.sem(per_seed))
    # A tenth of one seed's images hardly moves the other standard error.
    full = crossed_tests(generator.normal(0.3, 1, (3, 60, 1)))
    assert found.errors[1, 1] == pytest.approx(full.errors[1, 0], rel=0.5)


def test_one_won_and_one_lost_image_guard_hits():
    nothing, hits = np.zeros((1, 100, 1)), np.array([True])
    effect = np.array([0.02])
    # Of 100 images with 2 % to lose, 13 % of the samples lose none.
    assert crossed_tests(nothing, hits=hits).p_equivalent(effect)[0] > 0.05
    assert crossed_tests(nothing).p_equivalent(effect)[0] == 0
    assert crossed_tests(np.zeros((1, 600, 1)), hits=hits).p_equivalent(effect)[0] < 0.001
    assert crossed_tests(nothing, hits=hits).p_value[0] == 1


def test_no_spread_leaves_no_doubt_and_one_image_is_no_test():
    values = np.random.default_rng(4).normal(size=(2, 30, 4))
    values[..., 0], values[..., 1] = 0.0, 0.25
    values[:, 1:, 2] = np.nan
    found = crossed_tests(values)
    assert found.p_value[:2].tolist() == [1, 0]
    assert np.isnan(found.p_value[2])
    alone = crossed_tests(values[..., 3:])
    assert found.p_value[3] == pytest.approx(alone.p_value[0], rel=1e-9)
