from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawn_rows import pair_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from lico_bench.errors import InvalidInputError, NotComparableError, UnknownNameError
from lico_bench.stats import as_frame, minus_control, paired_differences
from lico_bench.stats.paired import pooled_difference, standardised_effect


def one_row(scores, **options):
    (row,) = paired_differences(scores, **options).to_dict("records")
    return row


def test_difference_is_arm_minus_baseline():
    row = one_row(pair_of(np.full((2, 3), 0.5), np.full((2, 3), 0.6)))
    assert row["difference"] == pytest.approx(0.1)
    assert row["mean"] == pytest.approx(0.6)
    assert row["mean_reference"] == pytest.approx(0.5)
    assert row["per_seed"] == pytest.approx([0.1, 0.1])
    assert (row["arm"], row["reference_arm"]) == ("lico", "baseline")


def test_one_seed_agrees_with_the_paired_t_interval():
    generator = np.random.default_rng(0)
    ours = generator.random((1, 500))
    theirs = ours + generator.normal(0.02, 0.1, (1, 500))
    row = one_row(pair_of(ours, theirs))
    expected = stats.ttest_rel(theirs[0], ours[0]).confidence_interval(0.95)
    assert row["low"] == pytest.approx(expected.low, abs=0.0005)
    assert row["high"] == pytest.approx(expected.high, abs=0.0005)
    assert row["interval_over"] == "images"


def test_what_both_arms_share_does_not_widen_the_interval():
    generator = np.random.default_rng(1)
    ease = generator.normal(0, 10, (1, 200))
    ours, theirs = generator.normal(0, 0.1, (2, 3, 200))
    calm, wild = one_row(pair_of(ours, theirs)), one_row(pair_of(ours + ease, theirs + ease))
    assert wild["low"] == pytest.approx(calm["low"], abs=1e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_exchanging_the_arms_mirrors_the_result(draw):
    ours, theirs = np.random.default_rng(draw).random((2, 2, 12))
    one, two = one_row(pair_of(ours, theirs)), one_row(pair_of(theirs, ours))
    assert one["difference"] == pytest.approx(-two["difference"])
    assert one["seed_part"] == pytest.approx(two["seed_part"])
    assert one["image_part"] == pytest.approx(two["image_part"])


def test_order_of_rows_changes_no_mean_and_no_part():
    ours, theirs = np.random.default_rng(2).random((2, 2, 30))
    rows = pair_of(ours, theirs)
    one, two = one_row(rows), one_row(rows.sample(frac=1, random_state=1))
    for name in ("difference", "seed_part", "image_part"):
        assert one[name] == pytest.approx(two[name])


def test_both_correct_keeps_images_that_both_models_get_right():
    ours, theirs = np.zeros((1, 4)), np.array([[1.0, 2.0, 4.0, 8.0]])
    rows = pd.concat(
        [
            rows_of(ours, correct=np.array([[True, True, False, True]])),
            rows_of(theirs, arm="lico", correct=np.array([[True, False, True, True]])),
        ]
    )
    row = one_row(rows, subset="both_correct")
    assert row["num_images"] == 2
    assert row["difference"] == pytest.approx((1 + 8) / 2)
    assert row["num_skipped"] == 0


def test_image_skipped_in_one_arm_is_left_out_of_both():
    row = one_row(pair_of(np.array([[1.0, 5.0, 3.0]]), np.array([[2.0, np.nan, 5.0]])))
    assert row["mean_reference"] == pytest.approx(2.0)
    assert row["difference"] == pytest.approx(1.5)
    assert row["num_skipped"] == 1


def test_several_arms_are_each_compared_with_the_reference():
    rows = pd.concat(
        [
            rows_of(np.zeros((2, 5))),
            rows_of(np.full((2, 5), 1.0), arm="lico"),
            rows_of(np.full((2, 5), 2.0), arm="lico_mm"),
        ]
    )
    found = paired_differences(rows).set_index("arm")["difference"]
    assert found.to_dict() == pytest.approx({"lico": 1.0, "lico_mm": 2.0})
    other = paired_differences(rows, reference_arm="lico_mm").set_index("arm")["difference"]
    assert other.to_dict() == pytest.approx({"baseline": -2.0, "lico": -1.0})


def test_tests_stand_beside_the_interval_and_belong_to_their_arm_and_metric():
    generator = np.random.default_rng(3)
    ours = generator.random((3, 60))
    hits = (ours < 0.5).astype(float)
    rows = pd.concat(
        [
            pair_of(ours, ours + generator.normal(0.05, 0.1, ours.shape)),
            pair_of(hits, np.where(generator.random(hits.shape) < 0.3, 1.0, hits), metric="hits"),
            rows_of(ours, arm="same"),
            rows_of(hits, arm="same", metric="hits"),
        ]
    )
    found = paired_differences(rows, smallest_effects={"insertion": 0.1, "elsewhere": 1.0})
    found = found.set_index(["arm", "metric"])
    clear, same = found.loc[("lico", "insertion")], found.loc[("same", "insertion")]
    assert clear["p_value"] < 0.05 < same["p_value"] == same["p_images"] == 1
    assert clear["lower"] < clear["difference"] < clear["upper"] < 0.1
    assert same["effect_size"] == 0 < clear["effect_size"]
    assert clear["smallest_effect"] == same["smallest_effect"] == 0.1
    # Images alike in all 60 are within any margin, and 0.05 is within 0.1.
    assert same["p_equivalent"] < clear["p_equivalent"] < 0.05
    assert found["p_mcnemar"].isna().to_dict() == {
        (arm, metric): metric == "insertion" for arm, metric in found.index
    }
    assert (
        found.loc[("lico", "hits"), "p_mcnemar"] < 0.05 < found.loc[("same", "hits"), "p_mcnemar"]
    )
    assert found.loc[("lico", "hits"), ["smallest_effect", "p_equivalent"]].isna().all()


def test_one_seed_of_hits_has_mcnemars_p_value():
    ours = np.zeros((1, 12))
    theirs = np.repeat([[1.0, 0.0]], [7, 5], axis=1)
    row = one_row(pair_of(ours, theirs))
    assert row["p_images"] == row["p_mcnemar"] == 2 / 2**7


def test_metric_that_cannot_be_judged_spoils_no_neighbour():
    generator = np.random.default_rng(4)
    good = pair_of(*generator.random((2, 2, 30)))
    skipped = pair_of(*np.full((2, 2, 30), np.nan), metric="pointing_game")
    single = np.full((2, 2, 30), np.nan)
    single[..., 0] = 1.0
    alike = pair_of(*np.full((2, 2, 30), 0.5), metric="flat_map")
    rows = pd.concat([skipped, good, pair_of(*single, metric="iou"), alike])
    effects = dict.fromkeys(("insertion", "pointing_game", "iou"), 0.1)
    found = paired_differences(rows, smallest_effects=effects).set_index("metric")
    (alone,) = paired_differences(good, smallest_effects=effects).to_dict("records")
    tests = ["p_value", "p_images", "effect_size", "p_equivalent"]
    assert found.loc["insertion", tests].to_dict() == pytest.approx({k: alone[k] for k in tests})
    assert found.loc[["pointing_game", "iou"], [*tests, "p_mcnemar"]].isna().all(axis=None)
    assert (found.loc[["pointing_game", "iou"], "note"] != "").all()
    assert found.loc["flat_map", ["p_value", "effect_size", "low", "high"]].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("effect", [0.0, -0.1, np.nan])
def test_smallest_effect_must_be_above_zero(effect):
    with pytest.raises(InvalidInputError, match="smallest effect of insertion"):
        paired_differences(rows_of(np.zeros((1, 3))), smallest_effects={"insertion": effect})


def test_one_arm_has_no_differences():
    found = paired_differences(rows_of(np.zeros((2, 3))))
    assert found.empty
    assert "difference" in found.columns


def test_anything_with_to_frame_is_taken():
    class Scores:
        def to_frame(self):
            return pair_of(np.zeros((1, 3)), np.ones((1, 3)))

    assert one_row(Scores())["difference"] == pytest.approx(1.0)


def test_unpaired_image_is_named():
    rows = pair_of(np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(NotComparableError, match=r"1 image has insertion.*test/00002"):
        paired_differences(rows.iloc[:-1])


def test_seed_without_an_arm_is_named():
    rows = pair_of(np.zeros((2, 3)), np.zeros((2, 3)))
    lonely = rows[(rows["arm"] == "baseline") | (rows["seed"] == 0)]
    with pytest.raises(NotComparableError, match="lico has no rows at seed 1"):
        paired_differences(lonely)


def test_arms_under_different_protocols_are_refused():
    rows = pair_of(np.zeros((1, 3)), np.zeros((1, 3)))
    rows.loc[rows["arm"] == "lico", "protocol"] = "rise_2018@0"
    with pytest.raises(NotComparableError, match="two protocols"):
        paired_differences(rows)


def test_arms_on_different_data_are_refused():
    rows = pair_of(np.zeros((1, 3)), np.zeros((1, 3)))
    rows.loc[rows["arm"] == "lico", "source"] = "standin"
    with pytest.raises(NotComparableError, match="two data sources"):
        paired_differences(rows)


def test_unknown_reference_arm_is_answered_with_the_known_ones():
    rows = pair_of(np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(UnknownNameError, match="did you mean 'baseline'"):
        paired_differences(rows, reference_arm="baselin")


def test_unknown_subset_is_refused():
    with pytest.raises(InvalidInputError, match="subset"):
        paired_differences(pair_of(np.zeros((1, 3)), np.zeros((1, 3))), subset="correct")


def test_no_image_both_get_right_is_a_sentence_not_a_number():
    rows = pair_of(np.zeros((1, 3)), np.ones((1, 3)), correct=False)
    row = one_row(rows, subset="both_correct")
    assert row["num_images"] == 0
    assert np.isnan(row["difference"])
    assert row["note"]


def test_one_seed_is_the_paired_t_statistic_over_the_root_of_the_images():
    values = np.random.default_rng(0).normal(0.3, 1, (1, 50, 1))
    expected = stats.ttest_1samp(values[0, :, 0], 0).statistic / np.sqrt(50)
    assert standardised_effect(values)[0] == pytest.approx(expected)


def test_seeds_are_averaged_before_the_spread_is_taken():
    values = np.random.default_rng(1).normal(0.3, 1, (4, 50, 1))
    values[2, :10] = np.nan
    by_image = np.nanmean(values[..., 0], 0)
    assert standardised_effect(values)[0] == pytest.approx(by_image.mean() / by_image.std(ddof=1))


@given(st.floats(0.01, 100), st.integers(0, 100))
def test_unit_does_not_matter_and_sign_carries_over(scale, draw):
    values = np.random.default_rng(draw).normal(size=(2, 12, 1))
    assert standardised_effect(-scale * values) == pytest.approx(-standardised_effect(values))


def test_no_spread_is_zero_without_a_difference_and_nothing_with_one():
    rounding = np.float32(0.1) + np.arange(20) * 1e-9
    values = np.stack([np.zeros(20), np.full(20, 0.1), rounding], axis=1)[None]
    assert standardised_effect(values)[0] == 0
    assert np.isnan(standardised_effect(values)[1:]).all()


def test_one_image_or_none_has_no_effect_size():
    values = np.full((2, 5, 2), np.nan)
    values[:, 0, 0] = 0.0
    assert np.isnan(standardised_effect(values)).all()


def drawn(shape=(2, 6)):
    """Return rows of two methods, a control and the model, and the values of (method, arm)."""
    generator = np.random.default_rng(0)
    values = {
        method: generator.random((2, *shape)) for method in ("grad_cam", "rise", "random_map", "")
    }
    frames = [
        pair_of(*both, method=method, metric="insertion" if method else "accuracy")
        for method, both in values.items()
    ]
    return pd.concat(frames, ignore_index=True), values


def test_each_value_loses_the_controls_on_the_same_image_in_any_order_of_rows():
    rows, values = drawn()
    found = minus_control(rows.sample(frac=1, random_state=0), "random_map")
    assert set(found["method"]) == {"grad_cam", "rise"}
    assert len(found) == 2 * 2 * 2 * 6
    for row in found.itertuples():
        place = (int(row.arm == "lico"), row.seed, int(row.image_id[-1]))
        expected = values[row.method][place] - values["random_map"][place]
        assert row.value == pytest.approx(expected, abs=1e-15)


def test_paired_differences_of_it_are_differences_of_differences():
    rows, values = drawn()
    found = paired_differences(minus_control(rows, "random_map")).set_index("method")
    for method in ("grad_cam", "rise"):
        gain = values[method] - values["random_map"]
        assert found.loc[method, "difference"] == pytest.approx((gain[1] - gain[0]).mean())


def test_what_either_side_lacks_is_missing_with_a_flag():
    method = rows_of(np.array([[0.5, np.nan, 0.7, 0.8]]))
    control = rows_of(np.array([[0.1, 0.2, np.nan, 0.4]]), method="random_map").iloc[:3]
    found = minus_control(pd.concat([method, control]), "random_map")
    np.testing.assert_allclose(found["value"], [0.4, np.nan, np.nan, np.nan])
    assert found["flag"].tolist() == ["", "skipped_region", "no_control", "no_control"]
    assert as_frame(found) is found


def test_a_warning_about_a_value_stays_with_it():
    both = [rows_of(np.ones((1, 2)), flag="degenerate_map"), rows_of(np.ones((1, 2)), method="c")]
    assert minus_control(pd.concat(both), "c")["flag"].tolist() == ["degenerate_map"] * 2


def test_datasets_and_protocols_do_not_lend_each_other_controls():
    rows = [
        rows_of(np.ones((1, 2))),
        rows_of(np.ones((1, 2)), method="c", dataset="svhn"),
        rows_of(np.ones((1, 2)), method="c", protocol="other@0"),
    ]
    assert minus_control(pd.concat(rows), "c")["flag"].tolist() == ["no_control"] * 2


def test_categorical_columns_are_read_like_text():
    rows, _ = drawn()
    plain = minus_control(rows, "random_map")
    for name in ("pair", "arm", "image_id", "method", "metric", "flag"):
        rows[name] = rows[name].astype("category")
    np.testing.assert_array_equal(minus_control(rows, "random_map")["value"], plain["value"])


def test_unknown_control_and_duplicates_of_it_are_refused():
    rows, _ = drawn()
    with pytest.raises(UnknownNameError, match="did you mean 'random_map'"):
        minus_control(rows, "random_maps")
    twice = pd.concat([rows, rows[rows["method"] == "random_map"].iloc[:1]])
    with pytest.raises(InvalidInputError, match="one row per score, got 2"):
        minus_control(twice, "random_map")


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("count", [4, 9])
def test_it_agrees_with_statsmodels(tau, count):
    generator = np.random.default_rng(count)
    errors = generator.uniform(0.01, 0.05, count)
    values = 0.03 + tau * generator.normal(size=count) + errors * generator.normal(size=count)
    found = pooled_difference(values, errors)
    expected = combine_effects(values, errors**2, method_re="iterated", use_t=True)
    assert found.mean == pytest.approx(expected.mean_effect_re, abs=1e-5)
    assert found.tau**2 == pytest.approx(max(0.0, expected.tau2), abs=1e-5)
    assert found.i_squared == pytest.approx(max(0.0, expected.i2), abs=1e-9)
    error = expected.sd_eff_w_re_hksj
    from_centre = (found.high - found.low) / 2
    assert from_centre == pytest.approx(error * {4: 3.182446, 9: 2.306004}[count], rel=1e-4)
    assert found.predicted_low < found.low < found.mean < found.high < found.predicted_high


def test_its_interval_covers_the_mean_of_datasets_that_differ():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        errors = generator.uniform(0.5, 1.5, 5)
        values = generator.normal(size=5) + errors * generator.normal(size=5)
        found = pooled_difference(values, errors)
        covered.append(found.low <= 0 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.975


@pytest.mark.parametrize(
    ("values", "errors"),
    [([0.1] * 3, [0.1] * 3), ([0.1] * 4, [0.1, 0.1, 0.1, 0.0]), ([0.1] * 4, [0.1] * 5)],
)
def test_what_cannot_be_pooled_is_refused(values, errors):
    with pytest.raises(InvalidInputError, match="at least 4 differences"):
        pooled_difference(values, errors)


def test_hits_of_a_map_minus_hits_of_a_control_are_guarded_like_hits():
    """57 images without a lost one do not show that fewer than 2 % are lost."""
    hits = np.zeros((3, 57))
    maps, control = pair_of(hits, hits), pair_of(hits, hits, method="random_map")
    scores = pd.concat([maps, control], ignore_index=True)
    effects = {"insertion": 0.02}
    (row,) = paired_differences(
        minus_control(scores, "random_map"), smallest_effects=effects
    ).to_dict("records")
    assert row["p_equivalent"] > 0.05


def test_the_interval_of_the_test_excludes_zero_where_its_p_value_is_below_five_percent():
    generator = np.random.default_rng(11)
    for _ in range(30):
        ours = generator.random((3, 40))
        theirs = ours + generator.normal(0.03, 0.1, ours.shape) + generator.normal(0, 0.02, (3, 1))
        row = one_row(pair_of(ours, theirs))
        assert (row["test_low"] > 0 or row["test_high"] < 0) == (row["p_value"] < 0.05)
