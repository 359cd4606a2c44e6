"""Differences computed in batches equal those computed one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lico_bench.claims.comparisons import Comparisons, Setting, base_name
from lico_bench.claims.records import INFERENCE_COST
from lico_bench.stats import paired_differences
from lico_bench.store import RunFolder, write_json, write_parquet
from tests.claims.claimed_rows import MAPS, MODEL, RESAMPLES, rows_with, verdict_on
from tests.manifests import manifest_from

GAINS = {"baseline": 0.0, "lico": 0.02, "lico_ot": 0.01, "lico_mm": -0.01}
HERE = Setting("cifar10", "real", "wrn_10_2", "full")
CLAIMS = [
    replace(MAPS, control_arms=("lico_ot",), control_map="random_map"),
    replace(MAPS, id="ablation", reference_arm="lico_mm", metric="deletion"),
    MODEL,
]
IS_BETTER = {"insertion": True, "deletion": False, "accuracy": True}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frames = [
        rows_with(GAINS, noise=0.05),
        rows_with(GAINS, metric="deletion", noise=0.05, draw=1),
        rows_with(dict.fromkeys(GAINS, 0.0), method="random_map", noise=0.05, draw=2),
        rows_with(GAINS, metric="accuracy", method="", images=90, draw=3),
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def comparisons(rows) -> Comparisons:
    return Comparisons(rows, CLAIMS, IS_BETTER, resamples=RESAMPLES)


def directly(rows, arm, other, metric, method="grad_cam"):
    wanted = rows["arm"].isin([arm, other]) & (rows["metric"] == metric)
    (found,) = paired_differences(
        rows[wanted & (rows["method"] == method)],
        reference_arm=other,
        resamples=RESAMPLES,
    ).itertuples()
    return found


@pytest.mark.parametrize(
    ("number", "other", "sign"), [(0, "baseline", 1), (0, "lico_ot", 1), (1, "lico_mm", -1)]
)
def test_a_gain_is_the_paired_difference_of_its_two_arms(rows, number, other, sign):
    claim = replace(CLAIMS[number], control_map="")
    comparisons = Comparisons(rows, [claim], IS_BETTER, resamples=RESAMPLES)
    found = comparisons.find(claim, HERE, "grad_cam", other=other)
    wanted = directly(rows, "lico", other, claim.metric)
    assert found.gain == pytest.approx(sign * wanted.difference)
    ends = sorted((sign * wanted.test_low, sign * wanted.test_high))
    assert [found.low, found.high] == pytest.approx(ends)
    bounds = sorted((sign * wanted.lower, sign * wanted.upper))
    assert [found.lower, found.upper] == pytest.approx(bounds)
    assert found.reference == pytest.approx(sign * wanted.mean_reference)
    assert (found.num_images, found.num_seeds) == (60, 4)


def test_the_endpoint_on_maps_is_the_difference_of_differences_and_the_raw_one_is_kept(
    rows, comparisons
):
    gains = [directly(rows, "lico", "baseline", "insertion", m) for m in ("grad_cam", "random_map")]
    found = comparisons.find(CLAIMS[0], HERE, "grad_cam")
    assert found.gain == pytest.approx(gains[0].difference - gains[1].difference)
    assert found.reference == pytest.approx(gains[0].mean_reference - gains[1].mean_reference)
    raw = comparisons.find(CLAIMS[0], HERE, "grad_cam", is_raw=True)
    assert raw.gain == pytest.approx(gains[0].difference)


def test_one_metric_may_have_two_smallest_effects(rows):
    lenient = replace(MAPS, id="lenient", smallest_effect=0.05)
    found = Comparisons(rows, [MAPS, lenient], IS_BETTER, resamples=RESAMPLES)
    narrow, wide = (found.find(claim, HERE, "grad_cam") for claim in (MAPS, lenient))
    assert wide.gain == narrow.gain
    # A gain of 0.02, give or take 0.01, is significantly below 0.05 but not below 0.01.
    assert wide.p_equivalent < 0.05 < narrow.p_equivalent


def test_what_nobody_measured_is_not_found(comparisons):
    assert comparisons.find(MAPS, HERE, "rise") is None
    assert comparisons.find(MAPS, HERE._replace(labels="40"), "grad_cam") is None
    assert comparisons.find(MAPS, HERE, "grad_cam", other="lico_random_text") is None
    edges = replace(CLAIMS[0], control_map="edge_map")
    assert comparisons.find(edges, HERE, "grad_cam") is None


def test_a_method_is_known_by_its_name_whatever_its_options():
    assert base_name("rise(num_masks=200)") == base_name("rise") == "rise"


@pytest.mark.parametrize("arms", [("model",), ("model", "other"), ("lico",), ("baseline",)])
@pytest.mark.parametrize("methods", [("grad_cam", "random_map"), ("random_map",)])
def test_runs_without_the_arms_of_a_claim_have_no_gain(arms, methods):
    """Regression: one user model with the control method of `score` raised an error."""
    frames = [rows_with(dict.fromkeys(arms, 0.0), method=name, draw=1) for name in methods]
    frames.append(rows_with(dict.fromkeys(arms, 0.0), metric="accuracy", method=""))
    comparisons = Comparisons(pd.concat(frames), CLAIMS, IS_BETTER, resamples=RESAMPLES)
    assert comparisons.find(CLAIMS[0], HERE, "grad_cam") is None
    assert comparisons.find(CLAIMS[0], HERE, "grad_cam", is_raw=True) is None


CLAIM = replace(MODEL, metric=INFERENCE_COST, smallest_effect=1.0, min_seeds=2)


def model_rows(**facts) -> pd.DataFrame:
    given = {"metric": "accuracy", "method": "", "images": 2, "seeds": 2} | facts
    return rows_with({"baseline": 0.0, "lico": 0.0}, **given)


def counted(rows: pd.DataFrame, parameters: int = 0, gigaflop: float = 0.0) -> pd.DataFrame:
    """Return the counts of each cell; the arguments are added for lico."""
    cells = rows[["cell", "arm"]].drop_duplicates()
    extra = (cells["arm"] == "lico").astype(int)
    return pd.DataFrame(
        {
            "cell": cells["cell"],
            "parameters": 1000 + parameters * extra,
            "gigaflop": 0.25 + gigaflop * extra,
        }
    )


@pytest.mark.parametrize(
    ("more", "outcome", "message"),
    [
        ({}, "equivalent", "equal in both arms: 1,000 parameters, 0.25 GFLOP per picture"),
        ({"parameters": 1}, "harm", "needs more than baseline: 1,001 parameters"),
        ({"gigaflop": 1e-9}, "harm", "needs more than baseline"),
        ({"parameters": -1}, "improvement", "needs less than baseline: 999 parameters"),
        ({"parameters": -1, "gigaflop": 0.1}, "harm", "0.35 GFLOP"),
    ],
)
def test_counts_are_equal_or_they_are_not(more, outcome, message):
    rows = model_rows()
    verdict = verdict_on(CLAIM, rows, inference=counted(rows, **more))
    assert verdict.outcome == outcome
    assert message in verdict.evidence[0].sentence


def test_stand_ins_one_training_and_old_runs_decide_nothing():
    drawn = model_rows(source="standin")
    verdict = verdict_on(CLAIM, drawn, inference=counted(drawn))
    assert verdict.outcome == "not_tested"
    assert "equal in both arms" in verdict.evidence[0].sentence
    alone = model_rows(seeds=1)
    verdict = verdict_on(CLAIM, alone, inference=counted(alone))
    assert verdict.outcome == "inconclusive"
    assert "one training per arm, the claim asks for 2" in verdict.evidence[0].sentence
    old = model_rows()
    for inference in (None, counted(old).iloc[:0], counted(old).iloc[:1]):
        verdict = verdict_on(CLAIM, old, inference=inference)
        assert verdict.outcome == "not_tested"
        assert "before the cost of a forward was counted" in verdict.sentence


def test_a_run_folder_gives_the_counts_of_the_cells_that_have_them():
    run = RunFolder(Path("run"))
    recipe = {"dataset": "d", "arm": "a", "seed": 0}
    cells = [{"key": key, "recipe": recipe} for key in ("old", "new")]
    run.open_for(manifest_from({"cells": cells}))
    cost = {"parameters": 7, "gigaflop": 0.5}
    for key, facts in (("old", {}), ("new", {"inference": cost})):
        write_parquet(run.cell(key).table("rows"), pd.DataFrame())
        write_json(run.cell(key).path / "done.json", {"key": key, **facts})
    assert run.inference().to_dict("records") == [{"cell": "new", **cost}]
