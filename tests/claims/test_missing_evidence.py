"""What a run cannot test, and why."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lico_bench.claims import judge_claims
from tests.claims.claimed_rows import (
    CONTROLLED,
    MAPS,
    RESAMPLES,
    SURE,
    both,
    manifest_of,
    rows_with,
    verdict_on,
    with_accuracy,
    with_random_map,
)
from tests.manifests import manifest_from


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
        # 60 images leave a one-sided error of 10 points at 40 %, of 7 points at 87 %.
        (0.38, 0.1, False),
        (0.44, 0.1, True),
        (0.05, 0.01, False),
        (0.80, 0.5, False),  # three times a half is more than all: halfway from it to 1
        (0.87, 0.5, True),
        (0.90, None, False),
    ],
)
def test_networks_that_have_not_learned_are_not_tested(accuracy, chance, is_tested):
    verdict = judged_with_accuracy(accuracy, chance, both(SURE))
    assert verdict.outcome == ("improvement" if is_tested else "not_tested")
    reason = "a constant guess is not known" if chance is None else "have hardly learned"
    assert (reason in verdict.sentence) == (not is_tested)
    assert verdict.evidence[0].family == ("primary" if is_tested else None)


def test_runs_without_accuracy_are_not_tested():
    rows = both(SURE)
    (verdict,) = judge_claims(rows, manifest_from(manifest_of(rows)), [MAPS], resamples=RESAMPLES)
    assert verdict.sentence.startswith("not tested: the accuracy of arm baseline is not known")


def test_the_other_arm_does_not_change_who_is_admitted():
    """The data set that decides stays, where LICO's trainings failed or its maps are flat."""
    claim = replace(MAPS, primary_datasets=("set0", "set1"))
    second = both(SURE, dataset="set1", draw=1)
    failed = rows_with({"baseline": 0.0}, dataset="set0")
    verdict = verdict_on(claim, failed, second)
    assert verdict.outcome == "not_tested"
    assert verdict.sentence.startswith("not tested on set0 (wrn_10_2): no model of arm lico")
    few = both(-SURE, dataset="set0", seeds=2)
    verdict = verdict_on(claim, few, second)
    assert verdict.outcome == "inconclusive"
    assert "set0 (wrn_10_2, 2 trainings" in verdict.sentence
    flat = both(SURE, dataset="set0")
    flat.loc[flat["arm"] == "lico", ["value", "flag"]] = [np.nan, "degenerate_map"]
    assert verdict_on(claim, flat, second).outcome == "inconclusive"


def test_maps_without_a_signal_of_their_own_are_not_tested():
    verdict = verdict_on(CONTROLLED, with_random_map(0.0, -0.1))
    assert verdict.outcome == "not_tested"
    assert "above random_map, a test of a smallest effect of 0.01 needs 0.02" in verdict.sentence


def test_a_control_map_that_was_not_scored_is_named_with_its_command():
    verdict = verdict_on(CONTROLLED, both(SURE))
    assert verdict.outcome == "not_tested"
    assert "no method random_map; `lico-bench run" in verdict.sentence
    assert "--methods grad_cam,random_map" in verdict.sentence


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
    rows = with_accuracy(both(SURE))
    manifest = manifest_of(rows)
    metrics = manifest["metrics"]
    manifest["metrics"] = metrics | {"pointing_game": metrics["insertion"]}
    claim = replace(MAPS, metric="pointing_game")
    (verdict,) = judge_claims(rows, manifest_from(manifest), [claim], resamples=RESAMPLES)
    assert re.match("not tested: pointing_game is not defined on cifar10: .* add", verdict.sentence)


def test_an_arm_that_a_data_set_was_to_be_without_is_not_called_unfinished():
    frames = [both(SURE), rows_with({"baseline": 0.0}, dataset="cub200", draw=2)]
    rows = with_accuracy(pd.concat(frames, ignore_index=True))
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
