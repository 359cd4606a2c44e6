from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gated_rows import METRICS, Run, rows_of

from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.gate import Selection, Side, compare, read_side
from lico_bench.gate.between_runs import pair_arms
from lico_bench.stats import paired_differences

EASE = np.random.default_rng(0).beta(4, 2, 60)
NOISE = np.random.default_rng(1).normal(0, 0.02, 60)


def side(rows, name="A", arm=None, **facts):
    return Side.of(Run(rows, **facts), name=name, arm=arm)


def verdict_of(theirs, ours=None, **options):
    ours = rows_of(EASE) if ours is None else ours
    return compare(side(ours), side(theirs, "B"), **options)


@pytest.mark.parametrize(
    ("shift", "outcome", "code"),
    [(0.0, "pass", 0), (0.2, "regression", 1), (-0.2, "better", 0), (0.05, "inconclusive", 3)],
)
def test_the_difference_decides_in_the_metrics_direction(shift, outcome, code):
    verdict = verdict_of(rows_of(EASE + shift + NOISE - NOISE.mean()), margin=0.05)
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    (one,) = verdict.judgements
    assert one.loss == pytest.approx(shift, abs=1e-9)  # deletion: higher is worse


def test_bounds_are_those_of_the_paired_differences():
    rows, other = rows_of(EASE), rows_of(EASE + NOISE)
    (one,) = verdict_of(other, rows).judgements
    both = pd.concat([rows.assign(arm="baseline"), other.assign(arm="lico")])
    (row,) = paired_differences(both, interval=0.9).to_dict("records")
    assert (one.loss_low, one.loss_high) == pytest.approx((row["low"], row["high"]), abs=1e-12)


def test_pairing_decides_what_two_means_cannot():
    """What makes an image hard for both cancels: the images spread ten times more."""
    (one,) = verdict_of(rows_of(EASE + 0.03 + NOISE), margin=0.01).judgements
    assert one.outcome == "regression"
    assert one.loss_high - one.loss_low < EASE.std() / 60**0.5


def test_a_run_and_itself_are_as_good_as_each_other():
    verdict = verdict_of(rows_of(EASE))
    assert verdict.outcome == "pass"
    assert "as good as A" in verdict.judgements[0].sentence


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (rows_of(EASE, protocol="rise_2018@1"), "protocols cannot be mixed"),
        (rows_of(EASE).assign(source="standin"), "sources cannot be mixed"),
        (rows_of(EASE, method="rise"), "B has no deletion of grad_cam for cifar10"),
        (rows_of(EASE).assign(backbone="resnet18"), "B has no deletion of grad_cam"),
        (rows_of(EASE[:50]), "50 images in both, 10 only in A, 0 only in B (first: 'i50')"),
        (rows_of(EASE).assign(seed=3), "0 seeds in both, 1 only in A, 1 only in B"),
    ],
)
def test_what_cannot_be_paired_says_why(theirs, words):
    verdict = verdict_of(theirs)
    assert (verdict.outcome, verdict.exit_code) == ("not_comparable", 4)
    assert words in verdict.judgements[0].sentence


def test_other_data_of_the_same_name_is_not_comparable():
    verdict = compare(side(rows_of(EASE)), side(rows_of(EASE), "B", images="ffff"))
    assert verdict.exit_code == 4
    assert "A and B used different data (0123456789ab, ffff)" in verdict.judgements[0].sentence


def test_shared_restricts_to_what_both_have():
    moved = rows_of(EASE[:50])
    moved.loc[49, "image_id"] = "new"
    verdict = verdict_of(moved, is_shared=True)
    assert verdict.outcome == "pass"
    assert verdict.judgements[0].num_images == 49
    nothing = verdict_of(rows_of(EASE).assign(seed=3), is_shared=True)
    assert "no seed and image in common" in nothing.judgements[0].sentence


def test_images_skipped_on_one_side_are_left_out_of_both():
    theirs = rows_of(EASE + 0.01)
    theirs.loc[:9, ["value", "flag"]] = [np.nan, "skipped_region"]
    (one,) = verdict_of(theirs).judgements
    assert one.num_images == 50
    assert one.reference == pytest.approx(EASE[10:].mean())
    theirs["value"], theirs["flag"] = np.nan, "skipped_region"
    (none,) = verdict_of(theirs).judgements
    assert (none.outcome, none.mean) == ("not_comparable", None)
    assert none.reference == pytest.approx(EASE.mean())


def test_one_image_and_no_spread_are_sentences():
    (one,) = verdict_of(rows_of(EASE[:1] + 0.1), rows_of(EASE[:1])).judgements
    assert (one.outcome, one.loss) == ("inconclusive", None)
    assert "a single image" in one.sentence
    (flat,) = verdict_of(rows_of(EASE + 0.1)).judgements  # each image lost the same
    assert flat.outcome == "regression"


@pytest.mark.parametrize(("count", "outcome"), [(100, "inconclusive"), (200, "pass")])
def test_hits_that_never_differ_show_only_what_their_number_can(count, outcome):
    """100 without a loss leave up to 3 % open (the rule of three), 200 half of that."""
    hits = rows_of(np.tile([0.0, 1.0], count // 2), metric="accuracy", method="", protocol="")
    (one,) = verdict_of(hits, hits, margin=0.02).judgements
    assert one.outcome == outcome
    assert one.loss_high == pytest.approx(2.33 / count, rel=0.03)


def test_one_seed_is_said_not_to_cover_others():
    assert "one seed" in verdict_of(rows_of(EASE)).notes[0]
    two = rows_of(np.tile(EASE, 2), seeds=2)
    assert verdict_of(two, two).notes == ()


def test_controls_and_descriptions_are_left_out_and_new_scores_counted():
    kinds = [{}, {"method": "random_map"}, {"metric": "gini"}]
    rows = pd.concat([rows_of(EASE, **kind) for kind in kinds])
    more = pd.concat([rows, rows_of(EASE, method="rise")])
    facts = {"methods": ("grad_cam", "random_map", "rise")}
    verdict = compare(side(rows, **facts), side(more, "B", **facts))
    assert [one.method for one in verdict.judgements] == ["grad_cam"]
    assert verdict.num_unjudged == 1
    with pytest.raises(InvalidInputError, match="got none; name other metrics"):
        compare(side(rows, **facts), side(more, "B", **facts), only=Selection(metrics=("gini",)))
    with pytest.raises(UnknownNameError, match="unknown metric in A 'road'"):
        verdict_of(rows, only=Selection(metrics=("road",)))


def test_margin_is_the_declared_smallest_effect_or_the_usual_one():
    facts = {"deletion": METRICS["deletion"], "other": {"higher_is_better": True, "bounds": [0, 1]},
             "wide": {"higher_is_better": True, "bounds": [0, None]}}  # fmt: skip
    rows = pd.concat([rows_of(EASE, metric=name) for name in facts] + [accuracy()])
    verdict = compare(side(rows, metrics=facts), side(rows, "B", metrics=facts))
    margins = {one.metric: one.margin for one in verdict.judgements}
    from lico_bench.claims import read_claims

    declared = min(c.smallest_effect for c in read_claims() if c.metric == "accuracy")
    assert margins["accuracy"] == declared
    assert margins["other"] == 0.02
    assert margins["wide"] > 0.02  # what a reference of sixty images would allow


def accuracy():
    return rows_of((EASE > 0.5).astype(float), metric="accuracy", method="", protocol="")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, [("baseline", "baseline"), ("lico", "lico")]),
        ("baseline", "lico", [("baseline", "lico")]),
        ("lico", None, [("lico", "lico")]),
    ],
)
def test_arms_named_are_compared_else_those_of_one_name(first, second, expected):
    rows = pd.concat([rows_of(EASE), rows_of(EASE).assign(arm="lico")])
    assert pair_arms(side(rows, arm=first), side(rows, "B", arm=second)) == expected


def test_two_arms_of_one_run_are_named_in_the_judgement():
    rows = pd.concat([rows_of(EASE), rows_of(EASE).assign(arm="lico")])
    verdict = compare(side(rows, arm="baseline"), side(rows, arm="lico"))
    assert verdict.judgements[0].arm == "baseline to lico"


def test_arms_that_nothing_puts_together_are_refused():
    two = pd.concat([rows_of(EASE).assign(arm=name) for name in ("a", "b")])
    with pytest.raises(InvalidInputError, match="choose them with RUN:ARM"):
        pair_arms(side(two), side(rows_of(EASE), "B"))
    with pytest.raises(UnknownNameError, match="unknown arm in A 'lica'; did you mean"):
        side(rows_of(EASE).assign(arm="lico"), arm="lica")


def test_a_folder_that_is_no_run_is_named():
    with pytest.raises(MissingDataError, match="nowhere is not a run folder"):
        read_side("nowhere:lico")
