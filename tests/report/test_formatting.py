from __future__ import annotations

import pytest

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from tests.manifests import manifest_from

PROBABILITY = MetricSpec("insertion", "Insertion", True, (0, 1), "probability", "")
LOWER = MetricSpec("deletion", "Deletion", False, (0, 1), "probability", "")
SHARE = MetricSpec("accuracy", "Accuracy", True, (0, 1), "share of images", "")
NEUTRAL = MetricSpec("gini", "Gini", None, (0, 1), "index", "")
NAN = float("nan")


@pytest.mark.parametrize(
    ("number", "spec", "text"),
    [
        (0.12345, PROBABILITY, "0.123"),
        (-0.5, PROBABILITY, "−0.500"),
        (0.7712, SHARE, "77.1 %"),
        (NAN, PROBABILITY, "–"),
    ],
)
def test_means_read_as_people_write_them(number, spec, text):
    assert formatting.value(number, spec) == text


@pytest.mark.parametrize(
    ("number", "spec", "text"),
    [
        (0.0123, PROBABILITY, "+0.012"),
        (-0.0123, PROBABILITY, "−0.012"),
        (-0.0001, PROBABILITY, "0.000"),
        (0.0123, SHARE, "+1.2"),
        (NAN, SHARE, "–"),
    ],
)
def test_differences_carry_their_sign_and_a_rounded_zero_has_none(number, spec, text):
    assert formatting.signed(number, spec) == text


def test_difference_and_interval_show_the_same_digits():
    message = formatting.difference(0.0123, -0.001, 0.0256, PROBABILITY)
    assert message == ("+0.012", "[−0.001, +0.026]")
    assert formatting.difference(0.1, NAN, NAN, PROBABILITY) == ("+0.100", "–")


def test_tiny_difference_does_not_read_as_zero():
    message = formatting.difference(0.00012, 0.00003, 0.0002, PROBABILITY)
    assert message == ("+0.00012", "[+0.00003, +0.00020]")
    assert formatting.difference(0.0, 0.0, 0.0, PROBABILITY) == ("0.000", "[0.000, 0.000]")


@pytest.mark.parametrize(
    ("low", "high", "spec", "word"),
    [
        (0.01, 0.02, PROBABILITY, "better"),
        (-0.02, -0.01, PROBABILITY, "worse"),
        (-0.02, -0.01, LOWER, "better"),
        (0.01, 0.02, LOWER, "worse"),
        (0.01, 0.02, NEUTRAL, "higher"),
        (-0.02, -0.01, NEUTRAL, "lower"),
        (-0.01, 0.02, PROBABILITY, "unclear"),
        (0.0, 0.02, PROBABILITY, "unclear"),
        (NAN, NAN, PROBABILITY, "no interval"),
    ],
)
def test_effect_follows_the_metrics_direction(low, high, spec, word):
    assert formatting.effect(low, high, spec, q_value=0.01) == word


@pytest.mark.parametrize("q_value", [0.05, 0.4, NAN, None])
def test_a_difference_that_correction_does_not_bear_out_leans(q_value):
    assert formatting.effect(0.01, 0.02, PROBABILITY, q_value) == "leans better"
    assert formatting.effect(-0.02, -0.01, PROBABILITY, q_value) == "leans worse"
    assert formatting.effect(-0.01, 0.02, PROBABILITY, q_value) == "unclear"
    assert formatting.effect(0.01, 0.02, NEUTRAL, q_value) == "higher"


def test_a_mean_that_rounds_to_zero_has_no_sign():
    assert formatting.value(-0.0004, PROBABILITY) == "0.000"
    assert formatting.value(-0.0006, PROBABILITY) == "−0.001"
    assert formatting.value(0.00049, SHARE) == "0.0 %"


def test_what_lies_between_two_digits_is_rounded_one_way_whatever_the_order_of_a_sum():
    for noise in (-1e-14, 0.0, 1e-14):
        assert formatting.value(0.6175 + noise, SHARE) == "61.8 %"
        assert formatting.signed(-0.0625 + noise, PROBABILITY) == "−0.062"


def test_no_p_value_reads_as_zero_or_as_not_a_number():
    message = [formatting.p_value(p) for p in (0.0, 0.00099, 0.001, 0.0494, 1.0, NAN)]
    assert message == ["< 0.001", "< 0.001", "0.001", "0.049", "1.000", "–"]


def test_interval_of_a_mean_is_cut_at_what_the_metric_can_be():
    assert formatting.mean_interval(-0.2, 1.3, SHARE) == "[0.0 %, 100.0 %]"
    assert formatting.mean_interval(NAN, NAN, SHARE) == "–"


def test_standin_never_bears_the_datasets_name_alone():
    facts = manifest_from({"datasets": {"cifar10": {"title": "CIFAR-10"}}}).datasets["cifar10"]
    assert formatting.dataset_title(facts, "cifar10", "standin") == "CIFAR-10 stand-in"
    assert formatting.dataset_title(facts, "cifar10", "real") == "CIFAR-10"
    assert formatting.dataset_title(None, "cifar10", "standin") == "cifar10 stand-in"


def test_data_sentence_tells_how_much_of_the_official_data_was_found():
    found = {"test": [2000, 10000], "train": [50000, 50000]}
    facts = manifest_from({"datasets": {"cifar10": {"found": found}}}).datasets["cifar10"]
    assert (
        formatting.data_sentence(facts, "real")
        == "real images (test 2,000 of 10,000, train 50,000)"
    )
    assert formatting.data_sentence(facts, "standin").startswith(
        "synthetic images, not the real dataset"
    )


def test_a_method_with_options_gives_a_plain_file_name():
    assert formatting.file_stem("rise(num_masks=32, seed=1)") == "rise_num_masks_32_seed_1"
    assert formatting.file_stem("grad_cam") == "grad_cam"
    assert formatting.file_stem("") == "model"
