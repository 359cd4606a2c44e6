"""Known-answer checks: registered entries pass, wrong entries fail."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lico_bench.evaluation.known_answers import Finding, Scene, findings_of, load_scene, self_check
from lico_bench.evaluation.known_answers.cases import (
    NUM_IMAGES_QUICK,
    REDUCED_OPTIONS,
    break_ties,
    colour_case,
    colour_network,
    linear_case,
    reduced_method,
    split_in_halves,
)
from lico_bench.evaluation.known_answers.finding import (
    MARGINS,
    REASONS,
    correlation,
    difference,
    effect_size,
    energy_in_region,
    kind_of,
    peaks_within,
    rank_of_region,
)
from lico_bench.evaluation.known_answers.method_checks import REFERENCE_MAPS
from lico_bench.metrics import METRICS, Metric
from lico_bench.models import logits_of
from lico_bench.records import IMAGENET_MEAN, MetricSpec
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SALIENCY, SaliencyMethod

ATOL_SUM = 1e-4  # a logit is a float32 sum of 3,072 products


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene("planted_cue", seed=0, num_images=NUM_IMAGES_QUICK)


def described(findings: list[Finding], *verdicts: str) -> list[str]:
    return [
        f"{f.subject}: {f.check}: {f.measured:.4g}, limit {f.limit:.4g} ({f.detail})"
        for f in findings
        if f.verdict in verdicts
    ]


def failed_checks(name: str, scene: Scene) -> set[str]:
    return {f.check for f in findings_of(name, scene, is_alone=False) if f.verdict == "FAIL"}


SLOW = ("deletion", "deletion_lerf", "deletion_gap", "road", "road_lerf", "rise")


def entries(registry) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in registry]


# Every registered entry passes.


@pytest.mark.parametrize("name", entries(SALIENCY))
def test_a_method_shows_the_known_reason(scene, name: str):
    assert not described(findings_of(name, scene, is_alone=False), "FAIL")


@pytest.mark.parametrize("name", entries(METRICS))
def test_a_metric_puts_known_maps_in_their_order(scene, name: str):
    assert not described(findings_of(name, scene), "FAIL")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", ["planted_cue", "plain"])
def test_everything_passes_on_more_scenes_and_other_networks(variant: str, seed: int):
    result = self_check(variant=variant, seed=seed)
    assert not described(list(result.findings), "FAIL")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_declared_reason_is_needed():
    met: set[tuple[str, str]] = set()
    for finding in self_check().findings:
        if finding.verdict == "known":
            met |= {
                (finding.subject, finding.check),
                (finding.detail.split(" ")[0], where(finding)),
            }
    assert not {key for key in REASONS if key not in met}


def where(finding: Finding) -> str:
    """The metric of a finding, or its category if reasons are declared for the category."""
    if finding.subject not in METRICS:
        return ""
    kind = kind_of(METRICS[finding.subject].spec)
    return kind if any(what == kind for _, what in REASONS) else finding.subject


def test_declarations_name_what_is_registered():
    categories = {METRICS[name].spec.category for name in METRICS}
    for method, what in REASONS:
        assert method in SALIENCY
        assert what in METRICS or what in categories or " " in what  # the name of a check
    for margins in MARGINS.values():
        assert set(margins) <= {*METRICS, *categories}
    for names in REFERENCE_MAPS.values():
        assert all(SALIENCY[name].is_control for name in names)


# Wrong entries must fail.


def flipped(inputs) -> Tensor:
    """Share of the map's mass outside the region instead of inside."""
    mass = inputs.maps.clamp_min(0) + 1e-9
    return (mass * ~inputs.regions).sum((1, 2)) / mass.sum((1, 2))


def guessing(inputs) -> Tensor:
    """A number derived from the image's name, independent of the map."""
    return torch.tensor([(hash_of(inputs.key(i)) % 997) / 997 for i in range(len(inputs.maps))])


def hash_of(text: str) -> int:
    return sum((i + 1) * 7919 * ord(letter) for i, letter in enumerate(text))


def by_neighbours(inputs) -> Tensor:
    """Mass on the region, divided by the maximum of the batch."""
    scaled = inputs.maps.clamp_min(0) / inputs.maps.max()
    return (scaled * inputs.regions).mean((1, 2))


def unbounded(inputs) -> Tensor:
    """Mass on the region, not normalised."""
    return (inputs.maps.abs() * inputs.regions).sum((1, 2))


def undefined_on_flat(inputs) -> Tensor:
    """Mass on the region after a rescale that divides by zero."""
    maps = inputs.maps - inputs.maps.amin((1, 2), keepdim=True)
    return (maps * inputs.regions).sum((1, 2)) / maps.sum((1, 2))


def in_place(inputs) -> Tensor:
    """Mass on the region; modifies the input maps."""
    mass = inputs.maps.clamp_(min=0) + 1e-9
    return (mass * inputs.regions).sum((1, 2)) / mass.sum((1, 2))


def metric_of(compute, **facts) -> Metric:
    spec = MetricSpec(
        name="wrong", title="Wrong", higher_is_better=True, bounds=(0.0, 1.0), unit="share",
        source="a test", needs=("maps", "regions"), category="localisation",
    )  # fmt: skip
    return Metric(replace(spec, **facts), compute)


@pytest.mark.parametrize(
    ("compute", "check"),
    [
        (flipped, "oracle beats the random map (effect)"),
        (guessing, "oracle beats the random map (effect)"),
        (by_neighbours, "batch against single images: change of the values"),
        (unbounded, "excess over the declared bounds"),
        (undefined_on_flat, "maps without a finite value"),
        (in_place, "runs"),
    ],
)
def test_a_wrong_metric_fails(scene, monkeypatch, compute, check: str):
    monkeypatch.setitem(METRICS._entries, "wrong", metric_of(compute))
    assert check in failed_checks("wrong", scene)


def test_deletion_with_its_direction_flipped_fails_where_the_answer_is_known(scene, monkeypatch):
    right = METRICS["deletion"]
    wrong = replace(right, spec=replace(right.spec, higher_is_better=True, name="wrong"))
    monkeypatch.setitem(METRICS._entries, "wrong", wrong)
    failed = failed_checks("wrong", scene)
    assert "oracle beats the random map (effect)" in failed
    assert "linear network: contributions beat noise (effect)" in failed


def brightness(_model, images: Tensor, _targets: Tensor) -> Tensor:
    return images.mean(1)


def noise(_model, images: Tensor, _targets: Tensor) -> Tensor:
    return torch.frac(images.sum(1) * 9973.7).abs()


def of_the_first_class(model, images: Tensor, targets: Tensor) -> Tensor:
    return SALIENCY["gradient"].compute(model, images, torch.zeros_like(targets))


def by_batch(model, images: Tensor, targets: Tensor) -> Tensor:
    maps = SALIENCY["gradient"].compute(model, images, targets)
    return maps / maps.max()


def counting(model, images: Tensor, targets: Tensor) -> Tensor:
    model.mean.add_(1e-3)
    return SALIENCY["gradient"].compute(model, images, targets)


@pytest.mark.parametrize(
    ("compute", "checks"),
    [
        (
            brightness,
            {
                "correlation with the maps of an untrained network",
                "peaks on the square of the target colour",
                "correlation with the weights of a linear network",
            },
        ),
        (
            noise,
            {
                "ROC AUC of the region",
                "energy on the region",
                "correlation with the maps of an untrained network",
            },
        ),
        (of_the_first_class, {"peaks on the square of the target colour"}),
        (by_batch, {"batch against single images: change of the maps"}),
        (counting, {"state changed in a model in training mode"}),
    ],
)
def test_a_wrong_method_fails(scene, monkeypatch, compute, checks: set[str]):
    entry = SaliencyMethod(title="Wrong", source="a test", compute=compute, family="gradient")
    monkeypatch.setitem(SALIENCY._entries, "wrong", entry)
    assert checks <= failed_checks("wrong", copy.deepcopy(scene))


def test_a_method_that_is_called_a_control_must_not_look_at_the_model(scene, monkeypatch):
    entry = replace(SALIENCY["gradient"], family="control")
    monkeypatch.setitem(SALIENCY._entries, "wrong", entry)
    assert failed_checks("wrong", scene) == {"control: change with the model"}


def test_an_entry_that_raises_fails_and_its_words_are_kept(scene, monkeypatch):
    def broken(_inputs):
        raise ZeroDivisionError("no pixels\nat all")

    monkeypatch.setitem(METRICS._entries, "wrong", metric_of(broken))
    (finding,) = findings_of("wrong", scene)
    assert (finding.check, finding.verdict) == ("runs", "FAIL")
    assert finding.detail == "ZeroDivisionError: no pixels"


# Scenes, networks and reference maps.


def test_the_network_has_learned_the_mark(scene):
    assert scene.accuracy >= 0.95
    assert len(scene) == NUM_IMAGES_QUICK
    with torch.no_grad():
        assert logits_of(scene.network(scene.images)).argmax(1).equal(scene.targets)


def test_the_oracle_has_its_region_first_and_no_equal_values(scene):
    oracle = scene.oracle
    inside = torch.where(scene.regions, oracle, torch.inf).amin((1, 2))
    outside = torch.where(scene.regions, -torch.inf, oracle).amax((1, 2))
    assert (inside > outside).all()
    assert all(len(m.unique()) == m.numel() for m in oracle)
    assert oracle.min() >= 0
    assert oracle.max() <= 1


def test_halves_share_a_region_between_them(scene):
    for region in scene.regions:
        left, right = split_in_halves(region)
        assert (left | right).equal(region)
        assert not (left & right).any()
        assert left.any()
        assert right.any()


def test_contributions_of_the_linear_network_add_up_to_its_logit():
    case = linear_case(4, is_uniform=False)
    start = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand_as(case.images)
    with torch.no_grad():
        gained = (case.network(case.images) - case.network(start))[:, 1]
    summed = case.network.contributions(case.images, start).sum((1, 2))
    assert torch.allclose(gained, summed, atol=ATOL_SUM)
    assert torch.allclose(gained.mean(), torch.tensor(4.0), atol=ATOL_SUM)


def test_the_colour_network_is_silent_but_on_its_colour():
    network = colour_network()
    with torch.no_grad():
        for grey in (0.0, 0.5, 1.0):
            assert network(torch.full((1, 3, 8, 8), grey)).logits.abs().max() == 0
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        assert network(mean).logits.abs().max() == 0
        red = torch.zeros(1, 3, 8, 8)
        red[:, 0] = 0.9
        logits = network(red).logits[0]
    assert logits.argmax() == 0
    assert logits[1:].abs().max() == 0


def test_colour_squares_do_not_touch():
    red, green = colour_case(16).squares
    assert not (red & green).any()
    assert (red.sum((1, 2)) == 64).all()
    assert (green.sum((1, 2)) == 64).all()


def test_costly_options_are_made_cheap_and_the_callers_kept():
    for text, num_masks in (("rise", REDUCED_OPTIONS["num_masks"]), ("rise(num_masks=9)", 9)):
        assert keyword_defaults(reduced_method(text).compute)["num_masks"] == num_masks
    assert reduced_method("grad_cam").compute is SALIENCY["grad_cam"].compute
    named = {option for name in SALIENCY for option in keyword_defaults(SALIENCY[name].compute)}
    assert {"num_masks", "samples", "steps"} <= named


# Numeric helpers.


def test_rank_of_a_region_is_the_share_of_pairs_in_order():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randint(5, (3, 4, 5), generator=rng).float()
    regions = torch.rand(3, 4, 5, generator=rng) < 0.4
    for map_, region, found in zip(maps, regions, rank_of_region(maps, regions), strict=True):
        pairs = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a in map_[region].tolist()
            for b in map_[~region].tolist()
        ]
        assert float(found) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(st.integers(0, 2**31), st.sampled_from([lambda m: 3 * m + 1, torch.exp, lambda m: m**3]))
@settings(max_examples=20, deadline=None)
def test_rank_of_a_region_keeps_its_value_under_a_rising_rescale(seed: int, rescale):
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
    regions = torch.zeros(2, 6, 6, dtype=torch.bool)
    regions[:, :2] = True
    assert rank_of_region(rescale(maps), regions).equal(rank_of_region(maps, regions))


def test_energy_of_a_flat_map_is_the_area_and_of_a_perfect_one_all():
    regions = torch.zeros(1, 4, 4, dtype=torch.bool)
    regions[0, :1] = True
    for flat in (torch.zeros(1, 4, 4), torch.full((1, 4, 4), 3.0)):
        assert float(energy_in_region(flat, regions, is_signed=False)) == 0.25
    assert float(energy_in_region(regions.float() + 5, regions, is_signed=False)) == 1
    signed = torch.where(regions, 1.0, -1.0)
    assert float(energy_in_region(signed, regions, is_signed=True)) == 1


def test_correlation_with_a_flat_map_is_zero():
    maps = torch.arange(16.0).view(1, 4, 4)
    assert float(correlation(maps, maps * 2 + 1)) == pytest.approx(1)
    assert float(correlation(maps, -maps)) == pytest.approx(-1)
    assert float(correlation(maps, torch.ones(1, 4, 4))) == 0


def test_a_peak_counts_with_all_its_equals():
    regions = torch.zeros(1, 8, 8, dtype=torch.bool)
    regions[0, 2:4, 2:4] = True
    maps = torch.zeros(1, 8, 8)
    assert not peaks_within(maps, regions, reach_px=1)
    maps[0, 4, 4] = 1
    assert peaks_within(maps, regions, reach_px=1)
    assert not peaks_within(maps, regions, reach_px=0)
    maps[0, 7, 7] = 1
    assert not peaks_within(maps, regions, reach_px=1)


def test_an_effect_is_the_mean_over_the_spread():
    assert effect_size(torch.tensor([1.0, 3.0, math.nan])) == 2
    assert effect_size(torch.tensor([2.0, 2.0])) == math.inf
    assert effect_size(torch.tensor([-2.0, -2.0])) == -math.inf
    assert effect_size(torch.zeros(3)) == 0
    assert math.isnan(effect_size(torch.tensor([math.nan])))


def test_a_nan_on_one_side_is_an_infinite_difference():
    assert difference(torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.5])) == 0.5
    assert difference(torch.tensor([math.nan]), torch.tensor([1.0])) == math.inf


def test_softening_keeps_the_order_for_a_region_at_the_border():
    regions = torch.zeros(1, 16, 16, dtype=torch.bool)
    regions[0, :3, :3] = True
    assert float(rank_of_region(break_ties(regions), regions)) == 1
