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
from lico_bench.claims.outcomes import gain_text, judge, outcome_of
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


def judged_with_accuracy(accuracy, chance, *frames):
    """The verdict on MAPS beside models of the given accuracy."""
    own = both(0.0, metric="accuracy", method="").assign(value=accuracy)
    rows = pd.concat([*frames, own], ignore_index=True)
    facts = {"cifar10": {"class_names": ["a", "b"], "chance": chance}}
    manifest = manifest_from({**manifest_of(rows), "datasets": facts})
    (verdict,) = judge_claims(rows, manifest, [MAPS], resamples=RESAMPLES)
    return verdict


@pytest.mark.parametrize(
    ("accuracy", "chance", "is_tested"),
    [
        (0.29, 0.1, False),
        (0.31, 0.1, True),
        (0.029, 0.01, False),
        (0.74, 0.5, False),  # three times a half is more than all: halfway from it to 1
        (0.76, 0.5, True),
    ],
)
def test_networks_that_have_not_learned_are_not_tested(accuracy, chance, is_tested):
    verdict = judged_with_accuracy(accuracy, chance, both(SURE))
    assert verdict.outcome == ("improvement" if is_tested else "not_tested")
    assert ("have hardly learned" in verdict.sentence) == (not is_tested)
    assert verdict.evidence[0].family == ("primary" if is_tested else None)


def test_without_known_labels_chance_is_that_of_the_classes_seen_correct():
    own = both(0.0, metric="accuracy", method="").assign(value=0.25)
    own["target"] = np.arange(len(own)) % 20
    own["correct"] = own["target"] < 10
    rows = pd.concat([both(SURE), own], ignore_index=True)
    (verdict,) = judge_claims(rows, manifest_from(manifest_of(rows)), [MAPS], resamples=RESAMPLES)
    assert "a constant guess has 10.0% and a test needs 30.0%" in verdict.sentence


CONTROLLED = replace(MAPS, control_map="random_map")


def with_random_map(gain: float, signal: float, confidence: float = 0.0, **facts):
    """Maps `signal` above the random map; both gain `confidence`, the maps `gain` on top."""
    maps = rows_with({"baseline": signal, "lico": signal + gain + confidence}, **facts)
    random = rows_with({"baseline": 0.0, "lico": confidence}, method="random_map", draw=1, **facts)
    return pd.concat([maps, random], ignore_index=True)


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


def test_maps_without_a_signal_of_their_own_are_not_tested():
    verdict = verdict_on(CONTROLLED, with_random_map(0.0, -0.1))
    assert verdict.outcome == "not_tested"
    assert "above random_map, a test of a smallest effect of 0.01 needs 0.02" in verdict.sentence


def test_a_control_map_that_was_not_scored_is_named_with_its_command():
    verdict = verdict_on(CONTROLLED, both(SURE))
    assert verdict.outcome == "not_tested"
    assert "no method random_map; `lico-bench run" in verdict.sentence
    assert "--methods grad_cam,random_map" in verdict.sentence


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
    ("control", "outcome"), [(0.0, "improvement"), (SURE, "inconclusive"), (None, "improvement")]
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


PRIMARY = ("set0", "set1")


@pytest.mark.parametrize(
    ("gains", "outcome", "message"),
    [
        ((SURE, SURE), "improvement", "other data sets: improvement on 1 of 1 (set1)"),
        ((SURE, 0.0), "improvement", "other data sets: equivalent on 1 of 1 (set1)"),
        ((0.0, -SURE), "equivalent", "other data sets: harm on 1 of 1 (set1)"),
        ((-SURE, SURE), "inconclusive", "because data sets contradict each other: harm on set0"),
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


def test_four_data_sets_are_pooled():
    gains = (0.01, 0.02, 0.03, 0.04)
    frames = [both(gain, dataset=f"set{n}", draw=n) for n, gain in enumerate(gains)]
    verdict = verdict_on(MAPS, *frames)
    assert verdict.pooled.num_datasets == 4
    assert verdict.pooled.mean == pytest.approx(0.025, abs=0.005)
    assert "mean over 4 data sets +0.02" in verdict.sentence
    assert verdict_on(MAPS, *frames[:3]).pooled is None


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
    assert ", q = 0.0" in verdict.evidence[1].sentence


def test_each_family_is_corrected_by_itself():
    frames = [
        both(0.006, noise=0.03),
        both(0.012, dataset="svhn", noise=0.05, draw=1),
        both(0.012, dataset="cars", noise=0.05, draw=2),
        both(SURE, dataset="drawn", source="standin", draw=3),
        both(0.006, method="rise(num_masks=9)", noise=0.05, draw=4),
    ]
    rows = pd.concat(frames, ignore_index=True)
    elsewhere = replace(MAPS, id="elsewhere", datasets=("svhn",))
    found = judge_claims(
        rows, manifest_from(manifest_of(rows)), [MAPS, elsewhere], resamples=RESAMPLES
    )
    one, other = ({e.dataset: e for e in v.evidence if e.method == "grad_cam"} for v in found)
    assert one["drawn"].family is None
    # Holm by hand over two: the smaller doubled, the larger at least as large.
    for pair in ((one["cifar10"], other["svhn"]), (one["svhn"], one["cars"])):
        low, high = sorted(pair, key=lambda item: item.p_value)
        assert low.p_corrected == pytest.approx(min(1, 2 * low.p_value))
        assert high.p_corrected == pytest.approx(max(high.p_value, low.p_corrected))
    rise = [e for v in found for e in v.evidence if e.method.startswith("rise") and e.p_value]
    assert [item.family for item in rise] == ["exploratory"]
    assert rise[0].p_corrected == rise[0].p_value


def test_an_interrupted_run_is_judged_on_its_complete_pairs():
    rows = rows_with({"baseline": 0.0, "lico": SURE, "lico_ot": 0.0}, seeds=5)
    half = rows[~((rows["seed"] == 4) & (rows["arm"] == "lico_ot"))]
    half = half[~((half["seed"] == 3) & (half["arm"] == "baseline"))]
    claim = replace(MAPS, control_arms=("lico_ot",))
    verdict = verdict_on(claim, half)
    assert verdict.outcome == "improvement"
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
    assert verdict.outcome == "improvement"


def test_what_one_data_set_lacks_stands_beside_what_the_others_show():
    frames = [
        both(SURE),
        both(SURE, dataset="svhn", metric="deletion", draw=1),
        rows_with({"baseline": 0.0}, dataset="cub200", draw=2),
    ]
    verdict = verdict_on(replace(MAPS, datasets=("cifar10", "svhn", "cub200", "cars")), *frames)
    assert verdict.outcome == "improvement"
    sentences = {evidence.dataset: evidence.sentence for evidence in verdict.evidence}
    assert "not defined on svhn" in sentences["svhn"]
    assert "no model of arm lico is finished" in sentences["cub200"]
    end = "; not tested on svhn, cub200; not in this run: cars"
    assert verdict.sentence.endswith(end)


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
    rows = pd.concat(frames, ignore_index=True)
    claims = read_claims()
    verdicts = judge_claims(rows, manifest_from(manifest_of(rows)), claims, resamples=RESAMPLES)
    assert [verdict.claim for verdict in verdicts] == list(claims)
    assert {verdict.outcome for verdict in verdicts} == {"not_tested"}
    assert all(verdict.sentence.startswith("not tested: ") for verdict in verdicts)


GAIN = Gain(
    gain=0.03, low=0.02, high=0.04, lower=0.021, upper=0.039, reference=0.4, error=0.005,
    p_value=0.001, p_equivalent=0.9, num_images=100, num_seeds=5, protocol="rules@1", note="",
)  # fmt: skip
SHUFFLED = replace(MAPS, control_arms=("shuffled",))


def judged(claim, found, p_corrected=0.01, controls=None):
    return judge(
        claim, found, p_corrected, family="primary", unit="probability", controls=controls or {}
    )


@pytest.mark.parametrize(
    ("p_corrected", "p_equivalent", "gain", "upper", "outcome"),
    [
        (0.049, 0.9, 0.03, 0.039, "improvement"),
        (0.05, 0.9, 0.03, 0.039, "inconclusive"),
        (0.049, 0.9, -0.03, -0.02, "harm"),
        (0.05, 0.9, -0.03, -0.02, "gain_ruled_out"),
        (0.05, 0.9, -0.03, 0.01, "inconclusive"),
        (0.001, 0.049, 0.005, 0.009, "equivalent"),  # significant, but too small to matter
        (0.9, 0.05, 0.001, 0.02, "inconclusive"),
        (math.nan, math.nan, 0.03, math.nan, "inconclusive"),
    ],
)
def test_each_word_has_its_rule(p_corrected, p_equivalent, gain, upper, outcome):
    found = replace(GAIN, gain=gain, p_equivalent=p_equivalent, upper=upper)
    assert outcome_of(MAPS, found, p_corrected) == outcome


@pytest.mark.parametrize(
    ("lower", "upper", "outcome"),
    [
        (-0.019, 0.5, "loss_ruled_out"),
        (-0.021, 0.5, "inconclusive"),
        (-0.5, -0.019, "inconclusive"),
        (-0.5, -0.021, "harm"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_not_worse_is_decided_by_the_one_sided_bounds(lower, upper, outcome):
    assert outcome_of(MODEL, replace(GAIN, lower=lower, upper=upper), math.nan) == outcome


def test_an_improvement_tells_its_numbers():
    outcome, message = judged(MAPS, GAIN)
    assert outcome == "improvement"
    assert message == (
        "gain over baseline +0.0300 [+0.0200, +0.0400] probability, p = 0.010 after Holm's "
        "correction"
    )


@pytest.mark.parametrize(
    ("control", "outcome", "message"),
    [
        (replace(GAIN, p_value=0.04), "improvement", "Holm"),
        (replace(GAIN, p_value=0.06), "inconclusive", "shuffled does as well"),
        (replace(GAIN, gain=-0.03), "inconclusive", "shuffled does as well"),
        (replace(GAIN, num_seeds=2), "inconclusive", "fewer trainings than 3"),
        (replace(GAIN, p_value=math.nan), "inconclusive", "shuffled does as well"),
        (None, "improvement", "no control was run for it (shuffled)"),
    ],
)
def test_a_control_arm_must_be_beaten_clearly(control, outcome, message):
    found = judged(SHUFFLED, GAIN, controls={"shuffled": control})
    assert found[0] == outcome
    assert message in found[1]


def test_shares_are_shown_in_percentage_points_and_a_rounded_zero_has_no_sign():
    found = replace(GAIN, gain=0.0123, low=-0.00001, high=0.03)
    assert gain_text(found, "share of hits") == "+1.23 [0.00, +3.00] percentage points"
    assert gain_text(found, "probability") == "+0.0123 [0.0000, +0.0300] probability"
    assert gain_text(replace(found, low=-0.02), "nats") == "+0.0123 [−0.0200, +0.0300] nats"
