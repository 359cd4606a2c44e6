"""The file of claims: what is refused, and that the shipped one can be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.claims import read_claims
from lico_bench.claims.records import INFERENCE_COST
from lico_bench.data import load_card
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.metrics import METRICS
from lico_bench.saliency import SALIENCY
from lico_bench.stats import MODEL_SCORES
from lico_bench.training import ARMS

GOOD = {
    "id": '"mine"', "title": '"Mine"', "statement": '"Mine is better."', "source": '"a paper"',
    "arm": '"lico"', "reference_arm": '"baseline"', "metric": '"insertion"',
    "methods": '["grad_cam"]', "direction": '"better"', "smallest_effect": "0.01",
}  # fmt: skip


def written(*claims: dict[str, str]) -> Path:
    path = Path("mine.toml")
    tables = ["[[claim]]\n" + "".join(f"{k} = {v}\n" for k, v in claim.items()) for claim in claims]
    path.write_text("\n".join(tables))
    return path


def test_user_file_is_read():
    entries = GOOD | {"min_seeds": "5", "control_arms": '["lico_ot"]', "smallest_effect": "1"}
    (claim,) = read_claims(written(entries))
    assert (claim.id, claim.min_seeds, claim.smallest_effect) == ("mine", 5, 1.0)
    assert (claim.methods, claim.control_arms, claim.datasets) == (("grad_cam",), ("lico_ot",), ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrc": '"x"'}, "unknown field 'metrc'; did you mean 'metric'"),
        ({"title": None}, "missing fields: title"),
        ({"title": "3"}, "title: expected a text, got 3"),
        ({"title": '" "'}, "title: expected a text, got ' '"),
        ({"methods": '"grad_cam"'}, "methods: expected a list of names, got 'grad_cam'"),
        ({"labels": "[40]"}, r"labels: expected a list of names, got \[40\]"),
        ({"methods": '["rise", "rise"]'}, "got methods 'rise' twice; remove one"),
        ({"methods": '["rise(num_masks=50)"]'}, "expected names without options"),
        ({"methods": '["rise"]', "control_map": '"rise"'}, "cannot be compared with itself"),
        ({"smallest_effect": '"0.1"'}, "smallest_effect: expected a number, got '0.1'"),
        ({"smallest_effect": "true"}, "smallest_effect: expected a number, got True"),
        ({"smallest_effect": "0"}, "smallest_effect: expected a number above 0, got 0.0"),
        ({"smallest_effect": "-0.1"}, "smallest_effect: expected a number above 0, got -0.1"),
        ({"smallest_effect": "nan"}, "smallest_effect: expected a number above 0, got nan"),
        ({"min_seeds": "2.5"}, "min_seeds: expected a whole number, got 2.5"),
        ({"min_seeds": "1"}, "min_seeds: expected at least 2, got 1"),
        ({"direction": '"worse"'}, "direction: expected better or not_worse, got 'worse'"),
        ({"arm": '"baseline"'}, "arm: 'baseline' is compared with itself"),
        ({"control_arms": '["lico"]'}, "arm: 'lico' is compared with itself"),
        ({"methods": "[]"}, "insertion is a score of saliency maps; name a saliency method"),
        ({"metric": '"accuracy"'}, "methods: accuracy is a score of the model"),
        ({"metric": '"confidence"', "methods": None}, "confidence has no direction of merit"),
        ({"direction": '"not_worse"', "control_arms": '["lico_ot"]'}, "remove the controls"),
        (
            {"metric": '"inference_cost"', "methods": None},
            "direction: inference_cost: expected not_worse",
        ),
    ],
)
def test_a_claim_that_rows_cannot_decide_is_refused_by_name(change, message):
    entries = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(BrokenFileError, match=f"mine.toml: claim 'mine': .*{message}"):
        read_claims(written(entries))


def test_repeated_id_is_named():
    with pytest.raises(BrokenFileError, match="claim 'mine': expected a unique id"):
        read_claims(written(GOOD, GOOD))


def test_a_claim_without_an_id_is_named_by_its_number():
    nameless = {key: value for key, value in GOOD.items() if key != "id"}
    with pytest.raises(BrokenFileError, match="claim 'number 2': missing fields: id"):
        read_claims(written(GOOD, nameless))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"expected primary_datasets and tables \[\[claim\]\], got an empty file"),
        ("claim = []", "and tables"),
        ("claim = [3]", "claim '1': expected a table of fields, got 3"),
        ("[claims]\nid = 1", "expected primary_datasets and tables .* got claims"),
        ("[[claim]", "not readable as TOML"),
    ],
)
def test_a_file_that_declares_nothing_is_refused(content, message):
    Path("mine.toml").write_text(content)
    with pytest.raises(BrokenFileError, match=f"mine.toml: .*{message}"):
        read_claims("mine.toml")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(MissingDataError, match=r"no such claims file: none\.toml"):
        read_claims("none.toml")


CLAIMS = read_claims()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_declared_claim_can_be_tested(claim):
    assert all(arm in ARMS for arm in (claim.arm, claim.reference_arm, *claim.control_arms))
    for method in claim.methods:
        assert not SALIENCY[method].is_control
    assert not claim.methods or SALIENCY[claim.control_map].is_control
    assert {load_card(name).name for name in claim.primary_datasets} >= set(claim.datasets)
    if claim.metric not in MODEL_SCORES and claim.metric != INFERENCE_COST:
        assert METRICS[claim.metric].spec.higher_is_better is not None
    for dataset in claim.datasets:
        classes = len(load_card(dataset).class_names)
        fits = [b for b in claim.labels if b == "full" or int(b) % classes == 0]
        assert fits or not claim.labels
        assert not claim.labels or claim.labels[0] in fits


def test_a_metric_has_one_smallest_effect_in_all_declared_claims():
    effects = {(claim.metric, claim.smallest_effect) for claim in CLAIMS}
    assert len(effects) == len({metric for metric, _ in effects})


def test_the_declared_claims_cover_what_the_paper_claims():
    compared = {(claim.reference_arm, claim.metric) for claim in CLAIMS}
    assert {"accuracy", "insertion", "deletion", "overall", "pointing_game", INFERENCE_COST} == {
        claim.metric for claim in CLAIMS
    }
    ablations = ("lico_ot", "lico_mm", "lico_shuffled_names", "lico_random_text")
    assert all((arm, "overall") in compared for arm in ablations)
