from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from lico_bench.errors import InvalidInputError
from lico_bench.stats import holm
from lico_bench.stats.significance import are_hits, crossed_tests, mcnemar_exact, sign_flip_test


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


# A share p of 10,000 draws has a standard error of at most 0.005; three of them.
ATOL_DRAWS = 0.015
ATOL_EXACT = 1e-12  # counts of the same patterns


def slow_p_images(values):
    """Every sign pattern by a plain loop, (S, I) with NaN for what is missing."""
    found = np.nanmean(values, 1).mean()
    reached = 0
    for signs in itertools.product((-1, 1), repeat=values.shape[1]):
        turned = np.nanmean(values * np.array(signs), 1).mean()
        reached += abs(turned) >= abs(found) - 1e-9
    return reached / 2 ** values.shape[1]


@pytest.mark.parametrize("hits", [False, True])
def test_few_images_agree_with_a_loop_over_every_sign_pattern(hits):
    generator = np.random.default_rng(0)
    values = generator.normal(0.5, 1, (3, 8, 2))
    if hits:
        values = generator.integers(-1, 2, values.shape).astype(float)
    values[1, :3, 1] = np.nan
    values[2, 5, 1] = np.nan
    found = sign_flip_test(values)
    expected = [slow_p_images(values[..., column]) for column in range(2)]
    np.testing.assert_allclose(found, expected, atol=ATOL_EXACT)


def test_one_seed_agrees_with_the_paired_permutation_test_of_scipy():
    ours, theirs = np.random.default_rng(1).random((2, 9))
    expected = stats.permutation_test(
        (theirs, ours), lambda x, y: np.mean(x - y), permutation_type="samples"
    ).pvalue
    found = sign_flip_test((theirs - ours)[None, :, None])
    assert found[0] == pytest.approx(expected, abs=ATOL_EXACT)


@pytest.mark.parametrize(("won", "lost"), [(14, 6), (30, 25), (3, 0)])
def test_ties_of_hits_count_as_in_the_exact_sign_test(won, lost):
    values = np.zeros((1, 200, 1))
    values[0, :won], values[0, won : won + lost] = 1, -1
    expected = stats.binomtest(won, won + lost).pvalue
    assert sign_flip_test(values)[0] == pytest.approx(expected, abs=ATOL_DRAWS)


@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_scale_sign_and_order_of_images_do_not_matter_to_the_images_test(seeds, images, draw):
    generator = np.random.default_rng(draw)
    values = generator.normal(0.3, 1, (seeds, images, 1))
    plain = sign_flip_test(values, resamples=300)[0]
    scaled = sign_flip_test(-7 * values, resamples=300)[0]
    assert scaled == pytest.approx(plain, rel=1e-9)
    shuffled = sign_flip_test(generator.permutation(values, axis=1), resamples=300)[0]
    # 300 draws have a standard error of 0.03 each.
    assert shuffled == pytest.approx(plain, abs=1e-12 if 2**images <= 300 else 0.15)


def test_large_differences_are_bounded_where_draws_are_few_and_the_bound_is_the_larger_p_value():
    generator = np.random.default_rng(10)
    clear = generator.normal(0.5, 1, (1, 300, 1))
    found = sign_flip_test(clear, resamples=200)[0]
    assert stats.ttest_1samp(clear[0, :, 0], 0).pvalue < found < 1e-5
    values = generator.normal(0.7, 1, (1, 12, 200))
    few, exact = (sign_flip_test(values, resamples=count) for count in (100, 10_000))
    assert (few >= exact).mean() > 0.5


def test_no_difference_at_all_has_p_of_one_and_a_constant_one_counts_images():
    nothing, constant = np.zeros((2, 30, 1)), np.full((2, 6, 1), 0.1)
    assert sign_flip_test(nothing)[0] == 1
    assert sign_flip_test(constant)[0] == 2 / 2**6


def test_one_image_or_none_is_no_test_and_spoils_no_neighbour():
    values = np.random.default_rng(8).normal(size=(2, 30, 3))
    values[:, 1:, 0], values[..., 1] = np.nan, np.nan
    together, alone = sign_flip_test(values), sign_flip_test(values[..., 2:])
    assert np.isnan(together[:2]).all()
    assert together[2] == pytest.approx(alone[0], abs=1e-3)


def test_equal_input_gives_equal_output_and_few_draws_are_refused():
    values = np.random.default_rng(9).normal(0.3, 1, size=(2, 30, 1))
    assert sign_flip_test(values) == sign_flip_test(values)
    assert sign_flip_test(values, seed=1) != sign_flip_test(values)
    with pytest.raises(InvalidInputError, match="at least 100"):
        sign_flip_test(values, resamples=10)


def table(ours, theirs):
    return [[((ours == a) & (theirs == b)).sum() for b in (1, 0)] for a in (1, 0)]


def test_one_seed_agrees_with_statsmodels():
    generator = np.random.default_rng(0)
    ours = (generator.random((1, 60, 8)) < 0.6).astype(float)
    theirs = np.where(generator.random(ours.shape) < 0.4, 1.0, ours)
    found = mcnemar_exact(ours, theirs)
    for column in range(8):
        expected = mcnemar(table(ours[0, :, column], theirs[0, :, column]), exact=True).pvalue
        assert found[column] == pytest.approx(expected, rel=1e-9)


def test_several_seeds_give_the_smallest_times_their_number():
    ours = np.zeros((3, 10, 1))
    theirs = ours.copy()
    theirs[0, :8], theirs[1, :3] = 1, 1
    assert mcnemar_exact(ours, theirs)[0] == pytest.approx(3 * 2 / 2**8)
    missing = np.full((1, 10, 1), np.nan)
    more = [np.concatenate([values, missing]) for values in (ours, theirs)]
    assert mcnemar_exact(*more)[0] == pytest.approx(3 * 2 / 2**8)


def test_one_image_under_many_seeds_is_no_crowd():
    ours = np.zeros((20, 30, 1))
    theirs = ours.copy()
    theirs[:, 0] = 1
    assert mcnemar_exact(ours, theirs)[0] == 1


def test_no_disagreement_has_p_of_one():
    assert mcnemar_exact(np.ones((2, 5, 1)), np.ones((2, 5, 1)))[0] == 1


def test_only_columns_of_hits_are_tested():
    ours, theirs = np.zeros((2, 4, 5)), np.ones((2, 4, 5))
    theirs[0, 0, 1] = 0.5
    for values in (ours, theirs):
        values[..., 2] = np.nan
        values[:, 1:, 3] = np.nan
        values[:, 0, 4] = np.nan
    assert are_hits(ours, theirs).tolist() == [True, False, False, True, True]
    # Nothing to test in the third, one image in the fourth.
    assert np.isnan(mcnemar_exact(ours, theirs)).tolist() == [False, True, True, True, False]


def slow_holm(p_values):
    """Step down: the smallest times N, the next times N - 1, never falling, never above 1."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, number in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[number]))
        adjusted[number] = largest
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_it_agrees_with_the_definition(p_values):
    np.testing.assert_allclose(holm(p_values), slow_holm(p_values), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_it_agrees_with_statsmodels_to_the_bit(count):
    p_values = np.random.default_rng(count).random(count) ** 3
    p_values[: count // 2] = np.round(p_values[: count // 2], 1)  # ties
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_array_equal(holm(p_values), expected)


def test_what_was_not_tested_stays_nan_and_does_not_count():
    found = holm([np.nan, 0.01, np.nan, 0.04])
    assert np.isnan(found).tolist() == [True, False, True, False]
    np.testing.assert_allclose(found[[1, 3]], holm([0.01, 0.04]))
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


@pytest.mark.parametrize("p_values", [[0.1, 1.2], [-0.1], [np.inf], [[0.1]]])
def test_what_is_no_p_value_is_refused(p_values):
    with pytest.raises(InvalidInputError, match=r"1-D array in \[0, 1\]"):
        holm(p_values)
