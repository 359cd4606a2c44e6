"""Verdicts on rows with known gains."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.claims import judge_claims, read_claims
from lico_bench.claims.comparisons import Gain
from lico_bench.claims.judging import gain_text, judge, outcome_of
from lico_bench.errors import InvalidInputError
from tests.claims.claimed_rows import MAPS, MODEL, RESAMPLES, manifest_of, rows_with, verdict_on
from tests.manifests import manifest_from

# Of rows_with: 4 trainings of 60 images with noise 0.02 leave a standard error of about 0.002.
SURE = 0.03
TINY = 0.001


def both(gain: float, **facts) -> pd.DataFrame:
    return rows_with({"baseline": 0.0, "lico": gain}, **facts)


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [(SURE, "supported"), (-SURE, "contradicted"), (TINY, "equivalent"), (0.01, "inconclusive")],
)
def test_a_claimed_gain_is_called_what_it_is(gain, outcome):
    # A standard error of about 0.014 leaves a gain of 0.01 open.
    noise = 0.15 if outcome == "inconclusive" else 0.02
    verdict = verdict_on(MAPS, both(gain, noise=noise))
    assert verdict.outcome == outcome
    (evidence,) = verdict.evidence
    assert evidence.outcome == outcome
    assert evidence.low < evidence.gain < evidence.high
    assert (evidence.num_images, evidence.num_seeds, evidence.protocol) == (60, 4, "rules@1")


@pytest.mark.parametrize(
    ("gain", "noise", "outcome"),
    [
        (SURE, 0.02, "supported"),
        (TINY, 0.02, "supported"),
        (-0.04, 0.02, "contradicted"),
        (-0.02, 0.05, "inconclusive"),
    ],
)
def test_not_worse_asks_whether_a_loss_that_matters_is_ruled_out(gain, noise, outcome):
    rows = both(gain, metric="accuracy", method="", noise=noise)
    assert verdict_on(MODEL, rows).outcome == outcome


@pytest.mark.parametrize(
    ("accuracy", "num_predicted", "message"),
    [
        (0.12, 10, "arm baseline have hardly learned: accuracy 12.0%, where guessing gives 10.0%"),
        (0.52, 2, "hardly learned"),
        (0.60, 1, "guessing gives 100.0%"),
        (0.20, 10, ""),
        (0.04, 100, ""),
    ],
)
def test_networks_that_guess_decide_nothing(accuracy, num_predicted, message):
    """Chance depends on the predicted classes: a copy may have ten of two hundred."""
    own = both(0.0, metric="accuracy", method="")
    own["value"] = accuracy
    own["target"] = np.arange(len(own)) % num_predicted
    rows = pd.concat([both(TINY), own], ignore_index=True)
    manifest = manifest_of(rows)
    manifest["datasets"] = {"cifar10": {"class_names": [f"c{k}" for k in range(200)]}}
    (verdict,) = judge_claims(rows, manifest_from(manifest), [MAPS], resamples=RESAMPLES)
    assert verdict.outcome == ("inconclusive" if message else "equivalent")
    assert message in verdict.evidence[0].sentence


def test_lower_is_better_where_the_metric_says_so():
    claim = replace(MAPS, metric="deletion")
    verdict = verdict_on(claim, both(-SURE, metric="deletion"))
    assert verdict.outcome == "supported"
    assert verdict.evidence[0].gain == pytest.approx(SURE, abs=0.01)


@pytest.mark.parametrize("gain", [SURE, -SURE, TINY])
def test_swapping_the_arms_turns_the_verdict_round(gain):
    rows = both(gain)
    swapped = replace(MAPS, arm="baseline", reference_arm="lico")
    (one,), (other,) = (verdict_on(claim, rows).evidence for claim in (MAPS, swapped))
    turned = {"supported": "contradicted", "contradicted": "supported", "equivalent": "equivalent"}
    assert other.outcome == turned[one.outcome]
    assert other.gain == pytest.approx(-one.gain)
    # Both come from the same draws; the draws of the seed level are not mirrored.
    assert other.low == pytest.approx(-one.high, rel=0.1)


def test_a_sure_gain_on_stand_ins_is_no_test_and_its_numbers_are_shown():
    verdict = verdict_on(MAPS, both(SURE, source="standin"))
    assert verdict.outcome == "not_tested"
    assert "stand-ins only" in verdict.sentence
    (evidence,) = verdict.evidence
    assert evidence.outcome == "not_tested"
    assert evidence.gain == pytest.approx(SURE, abs=0.01)
    assert evidence.p_holm is None


@given(
    gain=st.floats(-0.5, 0.5),
    noise=st.floats(0.0, 0.2),
    seeds=st.integers(1, 4),
    draw=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_nothing_is_ever_decided_by_stand_ins(gain, noise, seeds, draw):
    facts = {"source": "standin", "seeds": seeds, "images": 12, "noise": noise, "draw": draw}
    for claim, more in ((MAPS, {}), (MODEL, {"metric": "accuracy", "method": ""})):
        verdict = verdict_on(claim, both(gain, **facts, **more))
        assert verdict.outcome == "not_tested"
        assert {evidence.outcome for evidence in verdict.evidence} == {"not_tested"}


@pytest.mark.parametrize(
    ("seeds", "gain", "message"),
    [
        (1, SURE, "one training per arm"),
        (2, SURE, "2 trainings per arm"),
        (2, -SURE, "2 trainings per arm"),
        (2, TINY, "2 trainings per arm"),
    ],
)
def test_too_few_trainings_decide_nothing_in_any_direction(seeds, gain, message):
    verdict = verdict_on(MAPS, both(gain, seeds=seeds))
    assert verdict.outcome == "inconclusive"
    assert message in verdict.evidence[0].sentence


@pytest.mark.parametrize(
    ("control", "outcome"), [(0.0, "supported"), (SURE, "inconclusive"), (None, "supported")]
)
def test_a_control_arm_that_does_as_well_takes_the_support_away(control, outcome):
    claim = replace(MAPS, control_arms=("lico_random_text",))
    gains = {"baseline": 0.0, "lico": SURE}
    if control is not None:
        gains["lico_random_text"] = control
    verdict = verdict_on(claim, rows_with(gains))
    assert verdict.outcome == outcome
    sentence = verdict.evidence[0].sentence
    assert ("control lico_random_text does as well" in sentence) == (outcome == "inconclusive")
    assert ("no control was run" in verdict.sentence) == (control is None)


@pytest.mark.parametrize(
    ("control", "outcome"), [(0.0, "supported"), (SURE, "inconclusive"), (None, "supported")]
)
def test_a_control_map_that_gains_as_much_takes_the_support_away(control, outcome):
    claim = replace(MAPS, control_methods=("random_map",))
    frames = [both(SURE)]
    if control is not None:
        frames.append(both(control, method="random_map", draw=1))
    verdict = verdict_on(claim, *frames)
    assert verdict.outcome == outcome
    sentence = verdict.evidence[0].sentence
    assert ("control map random_map gains as much" in sentence) == (outcome == "inconclusive")
    assert ("no control was run" in verdict.sentence) == (control is None)


@pytest.mark.parametrize(
    ("gains", "outcome", "message"),
    [
        ((SURE, SURE), "supported", "supported on both comparisons"),
        ((SURE, 0.0), "inconclusive", "inconclusive: supported on 1 of 2 comparisons (set0), eq"),
        (
            (-SURE, 0.0),
            "contradicted",
            "contradicted on 1 of 2 comparisons (set0), equivalent on 1 (set1)",
        ),
        ((-SURE, SURE), "inconclusive", "inconclusive: supported on 1 of 2 comparisons (set1), co"),
        ((0.0, 0.0), "equivalent", "equivalent on both comparisons"),
    ],
)
def test_the_verdict_puts_all_data_sets_together(gains, outcome, message):
    frames = [both(gain, dataset=f"set{n}", draw=n) for n, gain in enumerate(gains)]
    verdict = verdict_on(MAPS, *frames)
    assert verdict.outcome == outcome
    assert verdict.sentence.startswith(message)


def test_stand_ins_beside_real_images_are_left_out_of_the_verdict():
    verdict = verdict_on(MAPS, both(SURE), both(-SURE, dataset="svhn", source="standin"))
    assert verdict.outcome == "supported"
    assert verdict.sentence.startswith("supported: gain over baseline +0.0314 [")
    assert verdict.sentence.endswith("; stand-ins left out")


def test_the_primary_method_decides_and_a_further_one_can_only_object():
    further = {"method": "rise(num_masks=9)", "draw": 1}
    beside = verdict_on(MAPS, both(SURE), both(0.0, **further))
    assert beside.outcome == "supported"
    assert beside.sentence.endswith("further methods: equivalent on the only comparison")
    against = verdict_on(MAPS, both(SURE), both(-SURE, **further))
    assert against.outcome == "inconclusive"
    assert against.sentence.endswith("a further method contradicts it")


def test_p_values_are_corrected_over_the_real_tests_of_all_claims():
    frames = [
        both(0.006, noise=0.03),
        both(SURE, dataset="svhn", draw=1),
        both(SURE, dataset="drawn", source="standin", draw=2),
    ]
    rows = pd.concat(frames, ignore_index=True)
    elsewhere = replace(MAPS, id="elsewhere", datasets=("svhn",))
    found = judge_claims(
        rows, manifest_from(manifest_of(rows)), [MAPS, elsewhere], resamples=RESAMPLES
    )
    tests = [
        evidence for verdict in found for evidence in verdict.evidence if evidence.source == "real"
    ]
    values = sorted((evidence.p_value, evidence.p_holm) for evidence in tests)
    # Holm by hand: times 3, 2, 1 in rising order, never falling, at most 1.
    slow, highest = [], 0.0
    for rank, (p_value, _) in enumerate(values):
        highest = min(1.0, max(highest, p_value * (len(values) - rank)))
        slow.append(highest)
    assert [p_holm for _, p_holm in values] == pytest.approx(slow)


def test_an_interrupted_run_is_judged_on_its_complete_pairs():
    rows = rows_with({"baseline": 0.0, "lico": SURE, "lico_ot": 0.0}, seeds=5)
    half = rows[~((rows["seed"] == 4) & (rows["arm"] == "lico_ot"))]
    half = half[~((half["seed"] == 3) & (half["arm"] == "baseline"))]
    claim = replace(MAPS, control_arms=("lico_ot",))
    verdict = verdict_on(claim, half)
    assert verdict.outcome == "supported"
    assert verdict.evidence[0].num_seeds == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_arm": "lico_mm"}, r"no arm lico_mm; .*--arms lico_mm,lico "),
        ({"metric": "energy_lift"}, r"no metric energy_lift; .*--metrics energy_lift "),
        ({"methods": ("score_cam",)}, r"no method score_cam; .*--methods score_cam "),
        ({"datasets": ("svhn",)}, r"no data set svhn; `lico-bench run --datasets svhn .*--seeds 3"),
        (
            {"datasets": ("cifar10",), "labels": ("40", "250")},
            r"no training with 40 or 250 labels; .*--labels 40",
        ),
    ],
)
def test_what_the_run_lacks_is_named_with_the_call_that_adds_it(change, message):
    verdict = verdict_on(replace(MAPS, **change), both(SURE))
    assert (verdict.outcome, verdict.evidence) == ("not_tested", ())
    assert re.match(f"not tested: the run has {message}", verdict.sentence)


def test_a_metric_that_was_asked_for_and_is_defined_nowhere_is_not_asked_for_again():
    rows = both(SURE)
    manifest = manifest_of(rows)
    metrics = manifest["metrics"]
    manifest["metrics"] = metrics | {"pointing_game": metrics["insertion"]}
    claim = replace(MAPS, metric="pointing_game")
    (verdict,) = judge_claims(rows, manifest_from(manifest), [claim], resamples=RESAMPLES)
    assert re.match("not tested: pointing_game is not defined on cifar10: .* add", verdict.sentence)


def test_an_arm_that_a_data_set_was_to_be_without_is_not_called_unfinished():
    rows = pd.concat(
        [both(SURE), rows_with({"baseline": 0.0}, dataset="cub200", draw=2)], ignore_index=True
    )
    manifest = manifest_of(rows)
    manifest["suite"] = {**manifest["suite"], "of_dataset": {"cub200": {"arms": ["baseline"]}}}
    (verdict,) = judge_claims(rows, manifest_from(manifest), [MAPS], resamples=RESAMPLES)
    sentences = {evidence.dataset: evidence.sentence for evidence in verdict.evidence}
    assert sentences["cub200"] == "the run has no arm lico on cub200"
    assert verdict.outcome == "supported"


def test_what_one_data_set_lacks_stands_beside_what_the_others_show():
    frames = [
        both(SURE),
        both(SURE, dataset="svhn", metric="deletion", draw=1),
        rows_with({"baseline": 0.0}, dataset="cub200", draw=2),
    ]
    verdict = verdict_on(replace(MAPS, datasets=("cifar10", "svhn", "cub200", "cars")), *frames)
    assert verdict.outcome == "supported"
    sentences = {evidence.dataset: evidence.sentence for evidence in verdict.evidence}
    assert "not defined on svhn" in sentences["svhn"]
    assert "no model of arm lico is finished" in sentences["cub200"]
    counts = "supported on 1 of 3 comparisons (cifar10), not tested on 2"
    assert verdict.sentence == f"{counts}; not in this run: cars"


def test_a_single_image_and_equal_scores_give_a_sentence_and_no_nan():
    alone = verdict_on(MAPS, both(SURE, images=1))
    assert alone.outcome == "inconclusive"
    assert "single image" in alone.evidence[0].sentence
    same = verdict_on(MAPS, both(0.0, noise=0.0))
    assert same.outcome == "equivalent"
    skipped = both(SURE).assign(value=np.nan, flag="skipped_region")
    nothing = verdict_on(MAPS, skipped)
    assert nothing.outcome == "inconclusive"
    assert "every image was skipped" in nothing.evidence[0].sentence
    for verdict in (alone, same, nothing):
        (evidence,) = verdict.evidence
        numbers = (evidence.gain, evidence.low, evidence.high, evidence.p_value, evidence.p_holm)
        assert not any(number is not None and np.isnan(number) for number in numbers)
        assert "nan" not in evidence.sentence


def test_a_claim_on_a_metric_without_merit_is_refused():
    claim = replace(MAPS, metric="sparseness")
    with pytest.raises(InvalidInputError, match=r"claim 'maps'.*sparseness, which is descriptive"):
        verdict_on(claim, both(SURE, metric="sparseness"))


def test_all_declared_claims_are_judged_on_a_run_of_two_arms():
    frames = [
        both(SURE, source="standin"),
        both(SURE, method="", metric="accuracy", source="standin"),
    ]
    rows = pd.concat(frames, ignore_index=True)
    claims = read_claims()
    verdicts = judge_claims(rows, manifest_from(manifest_of(rows)), claims, resamples=RESAMPLES)
    assert [verdict.claim for verdict in verdicts] == list(claims)
    assert {verdict.outcome for verdict in verdicts} == {"not_tested"}
    assert all(verdict.sentence.startswith("not tested: ") for verdict in verdicts)


GAIN = Gain(0.03, 0.02, 0.04, 0.001, 0.9, 100, 5, "rules@1", "", lower=0.021, upper=0.039)
CONTROLLED = replace(MAPS, control_arms=("shuffled",), control_methods=("noise",))


def judged(claim, found, p_holm=0.01, controls=None):
    return judge(claim, found, p_holm, unit="probability", controls=controls or {})


@pytest.mark.parametrize(
    ("p_holm", "p_equivalent", "gain", "outcome"),
    [
        (0.049, 0.9, 0.03, "supported"),
        (0.05, 0.9, 0.03, "inconclusive"),
        (0.049, 0.9, -0.03, "contradicted"),
        (0.001, 0.049, 0.005, "equivalent"),  # significant, but too small to matter
        (0.9, 0.05, 0.001, "inconclusive"),
        (math.nan, math.nan, 0.03, "inconclusive"),
    ],
)
def test_a_claimed_gain_needs_a_corrected_p_value_and_a_size(p_holm, p_equivalent, gain, outcome):
    found = replace(GAIN, gain=gain, p_equivalent=p_equivalent)
    assert outcome_of(MAPS, found, p_holm) == outcome


@pytest.mark.parametrize(
    ("lower", "upper", "p_equivalent", "outcome"),
    [
        (-0.019, 0.5, 0.9, "supported"),
        (-0.021, 0.5, 0.9, "inconclusive"),
        (-0.021, 0.01, 0.04, "supported"),  # equivalent counts as not worse
        (-0.5, -0.019, 0.9, "inconclusive"),
        (-0.5, -0.021, 0.9, "contradicted"),
        (math.nan, math.nan, math.nan, "inconclusive"),
    ],
)
def test_not_worse_is_decided_by_the_one_sided_bounds(lower, upper, p_equivalent, outcome):
    found = replace(GAIN, lower=lower, upper=upper, p_equivalent=p_equivalent)
    assert outcome_of(MODEL, found, math.nan) == outcome


def test_a_supported_gain_tells_its_numbers():
    outcome, message = judged(MAPS, GAIN)
    assert outcome == "supported"
    assert message == (
        "gain over baseline +0.0300 [+0.0200, +0.0400] probability, p = 0.010 after Holm's "
        "correction"
    )


@pytest.mark.parametrize(
    ("name", "control", "outcome", "message"),
    [
        ("shuffled", replace(GAIN, p_value=0.04), "supported", "Holm"),
        ("shuffled", replace(GAIN, p_value=0.06), "inconclusive", "shuffled does as well"),
        ("shuffled", replace(GAIN, gain=-0.03), "inconclusive", "shuffled does as well"),
        ("noise", replace(GAIN, p_value=0.06), "inconclusive", "noise gains as much"),
        ("noise", replace(GAIN, num_seeds=2), "inconclusive", "fewer trainings than 3"),
        ("noise", replace(GAIN, p_value=math.nan), "inconclusive", "noise gains as much"),
        ("noise", None, "supported", "no control was run for it (noise)"),
    ],
)
def test_each_control_must_be_beaten_clearly(name, control, outcome, message):
    controls = {"shuffled": GAIN, "noise": GAIN} | {name: control}
    found = judged(CONTROLLED, GAIN, controls=controls)
    assert found[0] == outcome
    assert message in found[1]


def test_shares_are_shown_in_percentage_points_and_a_rounded_zero_has_no_sign():
    found = replace(GAIN, gain=0.0123, low=-0.00001, high=0.03)
    assert gain_text(found, "share of hits") == "+1.23 [0.00, +3.00] percentage points"
    assert gain_text(found, "probability") == "+0.0123 [0.0000, +0.0300] probability"
    assert gain_text(replace(found, low=-0.02), "nats") == "+0.0123 [−0.0200, +0.0300] nats"
