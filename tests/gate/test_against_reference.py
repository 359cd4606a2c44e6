"""Scores against a reference; a run that asked for the sanity check must pass it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gated_rows import METRICS, Run, rows_of
from rich.console import Console
from scipy.special import stdtrit

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.gate import Selection, check, verdict_table, write_reference
from tests.manifests import manifest_from

EASE = np.random.default_rng(0).beta(4, 2, 300)


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "ref.csv"
    accuracy = rows_of((EASE > 0.3).astype(float), metric="accuracy", method="", protocol="")
    write_reference(pd.concat([accuracy, rows_of(EASE)]), path, metrics=METRICS, margin=0.08)
    return path


def run_of(*, deletion_shift=0.0, accuracy_at=0.3, num_images=300, **facts):
    ease = EASE[:num_images]
    accuracy = rows_of(
        (ease > accuracy_at).astype(float), metric="accuracy", method="", protocol=""
    )
    return pd.concat([accuracy, rows_of(ease + deletion_shift, **facts)])


def test_same_scores_pass(reference):
    verdict = check(run_of(), reference=reference)
    assert (verdict.outcome, verdict.exit_code) == ("pass", 0)
    assert [one.outcome for one in verdict.judgements] == ["pass", "pass"]


def test_worse_model_is_a_regression(reference):
    verdict = check(run_of(accuracy_at=0.7), reference=reference)
    assert (verdict.outcome, verdict.exit_code) == ("regression", 1)
    (worse,) = [one for one in verdict.judgements if one.outcome == "regression"]
    assert worse.metric == "accuracy"
    assert worse.loss_low > 0.08


def test_direction_comes_from_the_reference(reference):
    worse = check(run_of(deletion_shift=0.2), reference=reference)
    better = check(run_of(deletion_shift=-0.2), reference=reference)
    assert (worse.outcome, better.outcome) == ("regression", "pass")


def test_loss_about_as_large_as_the_margin_is_inconclusive(reference):
    verdict = check(run_of(deletion_shift=0.08), reference=reference)
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", 3)


def test_bounds_are_those_of_students_t_over_the_images(reference):
    (judgement,) = [
        one for one in check(run_of(), reference=reference).judgements if one.metric == "deletion"
    ]
    reach = stdtrit(299, 0.95) * 2**0.5 * EASE.std(ddof=1) / 300**0.5
    assert judgement.loss == pytest.approx(0, abs=1e-6)
    assert judgement.loss_high == pytest.approx(reach, abs=2e-6)  # six digits are written
    assert judgement.loss_low == pytest.approx(-judgement.loss_high, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "rise_2018@1"}, "the reference has protocol 'lico_bench_1@0'"),
        ({"metric": "insertion"}, "the run has no deletion of grad_cam for cifar10"),
        ({"method": "rise"}, "the run has no deletion of grad_cam"),
    ],
)
def test_what_cannot_be_compared_says_why(reference, change, words):
    verdict = check(run_of(**change), reference=reference)
    assert (verdict.outcome, verdict.exit_code) == ("not_comparable", 4)
    assert any(words in one.sentence for one in verdict.judgements)


def test_standin_scores_are_never_compared_with_real_ones(reference):
    verdict = check(run_of().assign(source="standin"), reference=reference)
    assert verdict.outcome == "not_comparable"
    assert "stand-ins and real images cannot be mixed" in verdict.judgements[0].sentence


def test_other_number_of_images_is_not_comparable(reference):
    verdict = check(run_of(num_images=200), reference=reference)
    assert verdict.outcome == "not_comparable"
    assert "number of images '300', the run has '200'" in verdict.judgements[0].sentence


def test_proven_regression_outweighs_what_is_missing(reference):
    verdict = check(run_of(accuracy_at=0.7, method="rise"), reference=reference)
    assert {one.outcome for one in verdict.judgements} == {"regression", "not_comparable"}
    assert verdict.exit_code == 1


def test_scores_without_a_reference_are_counted(reference):
    more = pd.concat([run_of(), rows_of(EASE, metric="insertion")])
    verdict = check(more, reference=reference)
    assert verdict.num_unjudged == 1
    assert verdict.sentence == "pass: 2 pass of 2 scores; 1 more without a reference"


def test_spread_between_seeds_widens_the_bounds(reference, tmp_path):
    path = tmp_path / "two.csv"
    apart = np.concatenate([EASE[:150] - 0.1, EASE[:150] + 0.1])
    together = np.concatenate([EASE[:150], EASE[:150]])
    write_reference(rows_of(together, seeds=2), path, metrics=METRICS, margin=0.08)
    (calm,) = check(rows_of(together, seeds=2), reference=path).judgements
    (wild,) = check(rows_of(apart, seeds=2), reference=path).judgements
    assert wild.loss_high - wild.loss_low > 2 * (calm.loss_high - calm.loss_low)


def test_table_names_the_gravest_first(reference):
    verdict = check(run_of(accuracy_at=0.7), reference=reference)
    console = Console(width=100, record=True, force_terminal=False)
    console.print(verdict_table(verdict))
    text = console.export_text()
    assert "regression: 1 regression, 1 pass of 2 scores" in text
    assert text.index("Accuracy ↑") < text.index("deletion ↓")


def test_verdict_reads_as_a_table(reference):
    frame = check(run_of(), reference=reference).to_frame()
    assert frame["outcome"].tolist() == ["pass", "pass"]
    assert {"dataset", "metric", "margin", "loss_low"} <= set(frame.columns)


def test_confidence_outside_its_range_is_refused(reference):
    with pytest.raises(InvalidInputError, match="confidence"):
        check(run_of(), reference=reference, confidence=95)


def test_a_run_of_one_seed_has_the_spread_that_the_reference_knows(tmp_path):
    path = tmp_path / "five.csv"
    five = np.concatenate([EASE[:100] + step for step in (-0.2, -0.1, 0.0, 0.1, 0.2)])
    write_reference(rows_of(five, seeds=5), path, metrics=METRICS, margin=0.1)
    verdict = check(rows_of(EASE[:100] + 0.2), reference=path)
    assert verdict.outcome == "inconclusive"  # one of the five trainings itself
    assert verdict.notes == ()
    (judgement,) = verdict.judgements
    spread = np.std([-0.2, -0.1, 0.0, 0.1, 0.2], ddof=1)
    seeds = stdtrit(4, 0.95) * spread * (1 + 1 / 5) ** 0.5
    images = stdtrit(99, 0.95) * 2**0.5 * EASE[:100].std(ddof=1) / 10
    assert judgement.loss_high - judgement.loss == pytest.approx(np.hypot(seeds, images), abs=1e-5)


def test_one_training_on_each_side_is_said_not_to_cover_seeds(reference):
    (note,) = check(run_of(), reference=reference).notes
    assert "the variation between trainings is not covered" in note


def test_selection_judges_what_was_asked_for(reference):
    verdict = check(run_of(accuracy_at=0.7), reference=reference, only=Selection(("deletion",)))
    assert [one.metric for one in verdict.judgements] == ["deletion"]
    assert (verdict.exit_code, verdict.num_unjudged) == (0, 0)


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (Selection(metrics=("road",)), "unknown metric in the reference 'road'"),
        (Selection(methods=("gradcam",)), "did you mean 'grad_cam'"),
    ],
)
def test_a_metric_that_the_reference_lacks_is_named(reference, only, words):
    with pytest.raises(UnknownNameError, match=words):
        check(run_of(), reference=reference, only=only)


def test_margin_takes_the_place_of_the_references(reference):
    assert check(run_of(), reference=reference, margin=0.001).outcome == "inconclusive"
    with pytest.raises(InvalidInputError, match="margin: expected a number above 0"):
        check(run_of(), reference=reference, margin=-1)


def test_a_reference_of_the_other_direction_is_not_comparable(reference):
    run = Run(run_of(), metrics={"deletion": {"higher_is_better": True}})
    verdict = check(run, reference=reference)
    assert verdict.outcome == "not_comparable"
    sentence = verdict.judgements[1].sentence
    assert "lower is better in the reference, higher in the run" in sentence


def test_long_tables_only_count_what_is_well(tmp_path):
    path = tmp_path / "many.csv"
    many = pd.concat([rows_of(EASE, method=f"m{number}") for number in range(30)])
    write_reference(many, path, metrics=METRICS)
    console = Console(width=100, record=True, force_terminal=False)
    console.print(verdict_table(check(many, reference=path)))
    text = console.export_text()
    assert "pass: 30 pass of 30 scores" in text
    assert "m17" not in text


def test_other_images_of_the_same_number_are_no_regression(reference):
    other = run_of(accuracy_at=0.7).assign(image_id=lambda rows: "x" + rows["image_id"])
    verdict = check(other, reference=reference)
    assert (verdict.outcome, verdict.exit_code) == ("not_comparable", 4)
    assert "image names of reference and run differ" in verdict.judgements[0].sentence


@pytest.mark.parametrize("spoil", ["drop", "empty"])
def test_a_reference_that_does_not_tell_its_images_is_judged_as_before(reference, spoil):
    table = pd.read_csv(reference, dtype=str, keep_default_na=False)
    table = table.drop(columns="pictures") if spoil == "drop" else table.assign(pictures="")
    table.to_csv(reference, index=False)
    assert check(run_of(), reference=reference).outcome == "pass"
    assert check(run_of(accuracy_at=0.7), reference=reference).outcome == "regression"


class CascadeRun:
    """What the gate reads of a run folder."""

    def __init__(self, endings: dict[str, float]) -> None:
        self._endings = endings

    def manifest(self):
        methods = {
            name: {"title": name, "is_control": name == "edge_map"} for name in self._endings
        }
        return manifest_from({"metrics": {**METRICS, "sanity_check": {}}, "methods": methods})

    def rows(self):
        return rows_of(EASE[:60])

    to_frame = rows

    def curves(self):
        base = {
            "dataset": "cifar10", "source": "real", "backbone": "wrn", "labels": "full",
            "arm": "lico", "protocol": "p", "curve": "cascade",
        }  # fmt: skip
        noise = np.random.default_rng(1).normal(0, 0.02, 40)
        return pd.DataFrame(
            [
                {**base, "method": method, "image_id": str(n), "values": [1.0, end + noise[n]]}
                for method, end in self._endings.items()
                for n in range(40)
            ]
        )


def judged(tmp_path, endings):
    path = tmp_path / "ref.csv"
    write_reference(rows_of(EASE[:60]), path, metrics=METRICS, margin=0.08)
    return check(CascadeRun(endings), reference=path)


def test_a_method_that_forgets_its_map_passes(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2})
    assert verdict.exit_code == 0
    assert verdict.judgements[-1].metric == "sanity_check"
    assert "below 0.50" in verdict.judgements[-1].sentence


def test_a_method_that_does_not_need_the_network_fails_the_gate(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2, "guided": 0.9})
    assert verdict.exit_code == 1
    (failed,) = [one for one in verdict.judgements if one.outcome == "regression"]
    assert failed.method == "guided"
    assert "does not need the network" in failed.sentence


def test_a_control_is_there_to_fail_and_is_not_judged(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2, "edge_map": 1.0})
    assert verdict.exit_code == 0
    assert {one.method for one in verdict.judgements if one.metric == "sanity_check"} == {
        "grad_cam"
    }
