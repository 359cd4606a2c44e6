"""Verdicts on rows with known gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.claims import judge_claims, read_claims
from lico_bench.errors import InvalidInputError
from tests.claims.claimed_rows import (
    CONTROLLED,
    MAPS,
    MODEL,
    RESAMPLES,
    SURE,
    TINY,
    both,
    manifest_of,
    rows_with,
    verdict_on,
    with_accuracy,
    with_random_map,
)
from tests.manifests import manifest_from


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        (SURE, "improvement"),
        (-SURE, "harm"),
        (TINY, "equivalent"),
        (-0.012, "gain_ruled_out"),
        (0.01, "inconclusive"),
    ],
)
def test_a_claimed_gain_is_called_what_it_is(gain, outcome):
    # A standard error of about 0.014 leaves a gain of 0.01 open.
    noise = {"inconclusive": 0.15, "gain_ruled_out": 0.08}.get(outcome, 0.02)
    verdict = verdict_on(MAPS, both(gain, noise=noise))
    assert verdict.outcome == outcome
    (evidence,) = verdict.evidence
    assert evidence.outcome == outcome
    assert evidence.low < evidence.gain < evidence.high
    assert (evidence.num_images, evidence.num_seeds, evidence.protocol) == (60, 4, "rules@1")


@pytest.mark.parametrize(
    ("gain", "noise", "outcome"),
    [
        (SURE, 0.02, "loss_ruled_out"),
        (TINY, 0.02, "loss_ruled_out"),
        (-0.04, 0.02, "harm"),
        (-0.02, 0.05, "inconclusive"),
    ],
)
def test_not_worse_asks_whether_a_loss_that_matters_is_ruled_out(gain, noise, outcome):
    rows = both(gain, metric="accuracy", method="", noise=noise)
    assert verdict_on(MODEL, rows).outcome == outcome


@pytest.mark.parametrize("confidence", [-0.2, 0.2])
def test_a_change_of_confidence_alone_is_neither_harm_nor_improvement_of_maps(confidence):
    verdict = verdict_on(CONTROLLED, with_random_map(0.0, 0.1, confidence))
    assert verdict.outcome == "equivalent"
    (evidence,) = [item for item in verdict.evidence if item.method == "grad_cam"]
    assert evidence.gain == pytest.approx(0.0, abs=0.01)
    assert evidence.raw_gain == pytest.approx(confidence, abs=0.01)


@pytest.mark.parametrize(("gain", "outcome"), [(SURE, "improvement"), (-SURE, "harm")])
def test_what_is_left_above_the_random_map_decides_in_both_directions(gain, outcome):
    assert verdict_on(CONTROLLED, with_random_map(gain, 0.1, -gain)).outcome == outcome


def test_seven_points_lost_in_five_of_five_trainings_are_harm():
    generator = np.random.default_rng(0)
    per_seed = np.array([-0.066, -0.110, -0.066, -0.043, -0.072])
    lost = rows_with({"baseline": 0.0, "lico": 0.0}, metric="accuracy", method="", seeds=5,
                     images=2000)  # fmt: skip
    shares = np.where(lost["arm"] == "lico", 0.69 + per_seed[lost["seed"]], 0.69)
    lost["value"] = (generator.random(len(lost)) < shares).astype(float)
    claim = replace(MODEL, direction="better")
    assert verdict_on(claim, lost).outcome == "harm"


def test_a_data_set_at_chance_changes_nothing():
    facts = {"noise": 0.05, "seeds": 4}
    learned = both(0.02, **facts)
    alone = verdict_on(MAPS, learned)
    at_chance = [
        both(0.0, dataset="cars", draw=5),
        both(0.0, dataset="cars", metric="accuracy", method="").assign(value=0.01),
    ]
    beside = verdict_on(MAPS, learned, *at_chance)
    assert beside.outcome == alone.outcome
    assert beside.evidence[0].p_corrected == alone.evidence[0].p_corrected
    assert beside.sentence == f"{alone.sentence}; not tested on cars"


def test_lower_is_better_where_the_metric_says_so():
    claim = replace(MAPS, metric="deletion")
    verdict = verdict_on(claim, both(-SURE, metric="deletion"))
    assert verdict.outcome == "improvement"
    assert verdict.evidence[0].gain == pytest.approx(SURE, abs=0.01)


@pytest.mark.parametrize("gain", [SURE, -SURE, TINY])
def test_swapping_the_arms_turns_the_verdict_round(gain):
    rows = both(gain)
    swapped = replace(MAPS, arm="baseline", reference_arm="lico")
    (one,), (other,) = (verdict_on(claim, rows).evidence for claim in (MAPS, swapped))
    turned = {"improvement": "harm", "harm": "improvement", "equivalent": "equivalent"}
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
    assert evidence.p_corrected is None
    assert evidence.family is None


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
    ("control", "outcome"), [(0.0, "improvement"), (SURE, "inconclusive"), (None, "inconclusive")]
)
def test_a_control_arm_that_does_as_well_takes_the_support_away(control, outcome):
    claim = replace(MAPS, control_arms=("lico_random_text",))
    gains = {"baseline": 0.0, "lico": SURE}
    if control is not None:
        gains["lico_random_text"] = control
    verdict = verdict_on(claim, rows_with(gains))
    assert verdict.outcome == outcome
    sentence = verdict.evidence[0].sentence
    assert ("control lico_random_text does as well" in sentence) == (control == SURE)
    assert ("control lico_random_text was not run" in sentence) == (control is None)


PRIMARY = ("set0", "set1")


@pytest.mark.parametrize(
    ("gains", "outcome", "message"),
    [
        ((SURE, SURE), "improvement", "other settings: improvement on 1 of 1 (set1)"),
        ((SURE, 0.0), "improvement", "other settings: equivalent on 1 of 1 (set1)"),
        ((0.0, -SURE), "equivalent", "other settings: harm on 1 of 1 (set1)"),
        (
            (-SURE, SURE),
            "inconclusive",
            "settings contradict each other: harm on set0",
        ),
    ],
)
def test_the_primary_data_set_decides_and_the_others_stand_beside_it(gains, outcome, message):
    frames = [both(gain, dataset=f"set{n}", draw=n) for n, gain in enumerate(gains)]
    claim = replace(MAPS, primary_datasets=PRIMARY)
    verdict = verdict_on(claim, *reversed(frames))
    assert verdict.outcome == outcome
    assert message in verdict.sentence
    assert {item.dataset: item.family for item in verdict.evidence} == {
        "set0": "primary", "set1": "claim",
    }  # fmt: skip


def test_the_next_data_set_is_primary_where_the_first_is_not_admitted():
    guess = both(0.0, dataset="set0", metric="accuracy", method="").assign(value=0.01)
    frames = [both(SURE, dataset="set0"), guess, both(-SURE, dataset="set1", draw=1)]
    verdict = verdict_on(replace(MAPS, primary_datasets=PRIMARY), *frames)
    assert verdict.outcome == "harm"
    assert verdict.sentence.startswith("harm on set1 (wrn_10_2, 4 trainings, 60 images): gain")


def test_a_claim_not_worse_holds_only_if_it_holds_everywhere():
    def verdict(*gains):
        facts = {"metric": "accuracy", "method": ""}
        frames = [both(g, dataset=f"set{n}", draw=n, **facts) for n, g in enumerate(gains)]
        return verdict_on(MODEL, *frames).outcome

    assert verdict(0.0, SURE) == "loss_ruled_out"
    assert verdict(0.0, -0.05) == "harm"
    assert verdict(0.0, -0.02) == "inconclusive"


def test_stand_ins_beside_real_images_are_left_out_of_the_verdict():
    verdict = verdict_on(MAPS, both(SURE), both(-SURE, dataset="svhn", source="standin"))
    assert verdict.outcome == "improvement"
    start = "improvement on cifar10 (wrn_10_2, 4 trainings, 60 images): gain over baseline +0.03"
    assert verdict.sentence.startswith(start)
    assert verdict.sentence.endswith("; stand-ins left out")


def test_the_primary_method_decides_and_further_ones_are_exploratory():
    further = {"method": "rise(num_masks=9)", "draw": 1}
    verdict = verdict_on(MAPS, both(SURE), both(-SURE, **further))
    assert verdict.outcome == "improvement"
    assert verdict.sentence.endswith("further methods: harm on 1 of 1")
    assert [item.family for item in verdict.evidence] == ["primary", "exploratory"]
    assert ", q < 0.001" in verdict.evidence[1].sentence


def test_an_interrupted_run_is_judged_on_its_complete_pairs():
    rows = rows_with({"baseline": 0.0, "lico": SURE, "lico_ot": 0.0}, seeds=5)
    half = rows[~((rows["seed"] == 4) & (rows["arm"] == "lico_ot"))]
    half = half[~((half["seed"] == 3) & (half["arm"] == "baseline"))]
    claim = replace(MAPS, control_arms=("lico_ot",))
    verdict = verdict_on(claim, half)
    assert verdict.outcome == "improvement"
    assert verdict.evidence[0].num_seeds == 4


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
        numbers = (
            evidence.gain,
            evidence.low,
            evidence.high,
            evidence.p_value,
            evidence.p_corrected,
        )
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
    rows = with_accuracy(pd.concat(frames, ignore_index=True))
    claims = read_claims()
    verdicts = judge_claims(rows, manifest_from(manifest_of(rows)), claims, resamples=RESAMPLES)
    assert [verdict.claim for verdict in verdicts] == list(claims)
    assert {verdict.outcome for verdict in verdicts} == {"not_tested"}
    assert all(verdict.sentence.startswith("not tested: ") for verdict in verdicts)
