"""Each protocol's curves against a loop written from its source's description."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, MetricInputs, perturbation_curves, resolve_metric
from lico_bench.metrics.insertion_deletion import SHARED_NAMES, curves_of
from lico_bench.metrics.perturbation import insertion_baseline, near_box
from lico_bench.models import build_classifier
from lico_bench.records import IMAGENET_MEAN, Protocol

ATOL_SCRIPT = 1e-4  # one script runs in numpy and another order of operations
MEAN = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


class Normalised(nn.Module):
    """A small network that takes normalised images, as the published scripts hand them over."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 5, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[-1].weight.mul_(40)

    def forward(self, normalised):
        return self.layers(normalised)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        return Normalised().eval()


def bare(network):
    """The same network for images in [0, 1]."""
    return lambda images: network((images - MEAN) / STD)


def picture(size: int, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, size // 4, size // 4, generator=rng)
    return F.interpolate(coarse, (size, size), mode="bilinear"), torch.rand(
        size, size, generator=rng
    )


def rise_script(network, image, saliency, mode: str, step: int):
    """Petsiuk et al.'s loop in words: change `step` pixels at a time of the normalised image."""
    normalised = (image - MEAN) / STD
    size = normalised.shape[-1]
    point = np.zeros((11, 11))
    point[5, 5] = 1
    weights = torch.from_numpy(ndimage.gaussian_filter(point, 5)).float()
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = weights
    blurred = F.conv2d(normalised, kernel, padding=5)
    if mode == "deletion":
        state, finish = normalised.clone(), torch.zeros_like(normalised)
    else:
        state, finish = blurred.clone(), normalised
    with torch.no_grad():
        chosen = int(network(normalised).argmax())
        order = np.flip(np.argsort(saliency.numpy().reshape(-1)))
        num_steps = (size * size + step - 1) // step
        scores = []
        for number in range(num_steps + 1):
            scores.append(float(network(state).softmax(1)[0, chosen]))
            pixels = torch.from_numpy(order[step * number : step * (number + 1)].copy())
            state.view(3, -1)[:, pixels] = finish.reshape(3, -1)[:, pixels]
    curve = np.array(scores)
    area = (curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1)
    return chosen, curve, area


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
def test_rise_2018_follows_the_published_script(network, mode: str):
    image, saliency = picture(224)
    chosen, curve, area = rise_script(network, image, saliency, mode, step=224 * 8)
    ours = perturbation_curves(
        bare(network), image, torch.tensor([chosen]), saliency[None], protocol="rise_2018"
    )
    assert len(curve) == 29
    assert np.ptp(curve) > 0.05  # a curve that moves
    np.testing.assert_allclose(getattr(ours, mode)[0], curve, atol=ATOL_SCRIPT)
    assert float(getattr(ours, f"{mode}_auc")[0]) == pytest.approx(area, abs=ATOL_SCRIPT)


def test_a_standard_gaussian_would_give_other_insertion_curves(network):
    image, saliency = picture(224)
    target = bare(network)(image).argmax(1)
    rise = PROTOCOLS["rise_2018"]
    plain = replace(rise, blur_kernel="gaussian", blur_border="reflect")
    curves = [
        perturbation_curves(bare(network), image, target, saliency[None], protocol=rules)
        for rules in (rise, plain)
    ]
    assert (curves[0].insertion - curves[1].insertion).abs().max() > 10 * ATOL_SCRIPT


def test_the_rise_kernel_is_nearly_a_box():
    weights = near_box(5.0, 11)
    plane = torch.outer(weights, weights)
    assert float(plane.sum()) == pytest.approx(1, abs=1e-6)
    assert float(plane.max() / plane.min()) == pytest.approx(1.14, abs=0.005)


def test_fletcher_2024_follows_its_description(network):
    image, saliency = picture(32)
    target, step = 2, 10
    normalised = (image - MEAN) / STD
    order = saliency.flatten().topk(32 * 32).indices
    start = gaussian_blur(normalised, [9, 9], [5.0, 5.0])
    expected = {}
    for mode, state, finish in (
        ("deletion", normalised.clone(), torch.zeros_like(normalised)),
        ("insertion", start.clone(), normalised),
    ):
        scores = []
        for done in range(0, 32 * 32 + 1, step):
            with torch.no_grad():
                scores.append(float(network(state).softmax(1)[0, target]))
            pixels = order[done : done + step]
            state.view(3, -1)[:, pixels] = finish.reshape(3, -1)[:, pixels]
        expected[mode] = np.array(scores)
    ours = perturbation_curves(
        bare(network), image, torch.tensor([target]), saliency[None],
        protocol="fletcher_2024", mean_rgb=IMAGENET_MEAN,
    )  # fmt: skip
    for mode, curve in expected.items():
        assert len(curve) == 103
        np.testing.assert_allclose(getattr(ours, mode)[0], curve, atol=ATOL_SCRIPT)
        area = np.trapezoid(curve, dx=1 / len(curve))
        assert float(getattr(ours, f"{mode}_auc")[0]) == pytest.approx(area, abs=ATOL_SCRIPT)
    assert ours.forwards == 2 * 103  # the state with every pixel changed is never reached


def test_the_authors_figure_has_113_points_and_the_blur_of_51_px(network):
    image, saliency = picture(224)
    rules = PROTOCOLS["authors_figure_2023"]
    ours = perturbation_curves(
        bare(network), image, torch.tensor([0]), saliency[None], protocol=rules
    )
    assert ours.fractions.shape == (113,)
    assert rules.changed_px(224 * 224)[1] == 448
    theirs = gaussian_blur(image, [51, 51], [50.0, 50.0])
    start = insertion_baseline(image, rules, fill=MEAN[None])
    assert torch.allclose(start, theirs, atol=1e-5)
    assert rules.scorer == "baseline"


def test_bartak_2024_is_rise_with_the_label_explained():
    rise, bartak = (asdict(PROTOCOLS[name]) for name in ("rise_2018", "bartak_2024"))
    differing = {key for key in rise if rise[key] != bartak[key]}
    assert differing == {"name", "source", "explained_class"}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_every_protocol_scores_a_classifier(protocol: Protocol):
    classifier = build_classifier(
        "wrn_10_1", num_classes=3, mean=(0.4, 0.5, 0.6), std=(0.25,) * 3, seed=0
    )
    image, saliency = picture(32)
    curves = perturbation_curves(
        classifier, image, torch.tensor([1]), saliency[None], protocol=protocol
    )
    for curve in (curves.insertion, curves.deletion):
        assert curve.shape == (1, len(protocol.changed_px(32 * 32)))
        assert ((curve >= 0) & (curve <= 1)).all()
    assert protocol.source


def test_a_changed_rule_is_another_id():
    ids = {protocol.id for protocol in PROTOCOLS.values()}
    assert len(ids) == len(PROTOCOLS)
    base = PROTOCOLS["lico_bench_1"]
    changes = {
        "steps": 16, "fill_rgb": (0.0, 0.0, 0.0), "blur_sigma_frac": 0.2,
        "blur_radius_sigmas": 3.0, "explained_class": "predicted", "score": "logit",
        "ties": "stable_reversed", "step_px": 9, "blur_sigma_px": 1.0, "blur_kernel_px": 3,
        "blur_kernel": "near_box", "blur_border": "fill", "scored_class": "predicted",
        "endpoints": "whole_steps", "area": "even", "scorer": "baseline",
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(Protocol)} - {"name", "source"}
    for name, value in changes.items():
        assert replace(base, **{name: value}).id != base.id, name


def test_the_default_protocols_id_is_the_one_that_stored_rows_carry():
    assert PROTOCOLS["lico_bench_1"].id == "lico_bench_1@388ee2af"


def test_filling_with_the_models_mean_needs_a_model_that_tells_it(network):
    image, saliency = picture(32)
    with pytest.raises(InvalidInputError, match="pass mean_rgb="):
        perturbation_curves(
            bare(network), image, torch.tensor([0]), saliency[None], protocol="fletcher_2024"
        )


def test_a_blur_larger_than_the_image_is_refused(network):
    image, saliency = picture(16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4))
    with pytest.raises(InvalidInputError, match=r"a blur of 51 px needs images of more than 25"):
        perturbation_curves(
            model, image, torch.tensor([0]), saliency[None], protocol="authors_figure_2023"
        )


def test_least_salient_first_is_the_order_read_backwards(network):
    image, saliency = picture(32)
    target = torch.tensor([1])
    least = perturbation_curves(bare(network), image, target, saliency[None], first="least")
    turned = perturbation_curves(bare(network), image, target, -saliency[None])
    assert torch.equal(least.deletion, turned.deletion)
    assert torch.equal(least.insertion, turned.insertion)
    # Equal values too: a flat map is scanned from the last pixel.
    flat = torch.zeros(1, 32, 32)
    ramp = torch.arange(1024.0).view(1, 32, 32)
    backwards = perturbation_curves(bare(network), image, target, flat, first="least")
    assert torch.equal(
        backwards.deletion, perturbation_curves(bare(network), image, target, ramp).deletion
    )


def inputs_of(network, image, saliency, protocol: str = "lico_bench_1", **known):
    return MetricInputs(
        bare(network), image, torch.tensor([1]), saliency[None], None, PROTOCOLS[protocol], **known
    )


def test_points_of_the_curves_are_read_between_steps(network):
    image, saliency = picture(32)
    inputs = inputs_of(network, image, saliency)
    curves = curves_of(inputs)
    for percent in (10, 20, 50):
        for curve in ("insertion", "deletion"):
            value = resolve_metric(f"{curve}_at_{percent}").compute(inputs)
            expected = np.interp(percent / 100, curves.fractions, getattr(curves, curve)[0])
            assert float(value[0]) == pytest.approx(expected, abs=1e-6)


def test_normalised_areas_do_not_change_when_confidence_is_scaled(network):
    """Curves squeezed to a half and lifted by a tenth keep their normalised areas."""
    image, saliency = picture(32)
    inputs, squeezed = (inputs_of(network, image, saliency) for _ in range(2))
    rising = torch.linspace(0.1, 0.9, 33)[None] ** 2
    measured = curves_of(inputs_of(network, image, saliency))
    steep = replace(measured, insertion=rising, deletion=rising.flip(1))
    low = replace(steep, insertion=steep.insertion / 2 + 0.1, deletion=steep.deletion / 2 + 0.1)
    inputs.shared.once(SHARED_NAMES["most"], lambda: steep)
    squeezed.shared.once(SHARED_NAMES["most"], lambda: low)
    area = np.trapezoid(rising[0], dx=1 / 32)
    expected = (area - 0.01) / (0.81 - 0.01)
    for name, value in (
        ("insertion_normalised", expected),
        ("deletion_normalised", expected),
        ("overall_normalised", 0),
    ):
        for message in (inputs, squeezed):
            measured = float(resolve_metric(name).compute(message)[0])
            assert measured == pytest.approx(value, abs=1e-5)


def test_an_image_without_contrast_is_skipped_by_normalised_areas():
    image, saliency = picture(32)
    inputs = MetricInputs(
        lambda x: torch.zeros(len(x), 4), image, torch.tensor([1]), saliency[None], None,
        PROTOCOLS["lico_bench_1"],
    )  # fmt: skip
    assert resolve_metric("insertion_normalised").compute(inputs).isnan().all()


def test_the_gap_is_zero_for_a_flat_models_curves_and_signed_otherwise(network):
    image, saliency = picture(32)
    inputs = inputs_of(network, image, saliency)
    gap = resolve_metric("deletion_gap").compute(inputs)
    assert float(gap[0]) == pytest.approx(
        float(curves_of(inputs, "least").deletion_auc[0] - curves_of(inputs).deletion_auc[0]),
        abs=1e-6,
    )


def test_the_predicted_class_must_be_told_where_curves_follow_it(network):
    image, saliency = picture(32)
    with pytest.raises(InvalidInputError, match="pass predicted="):
        curves_of(inputs_of(network, image, saliency, "rise_2018"))
    predicted = torch.tensor([3])
    followed = curves_of(inputs_of(network, image, saliency, "rise_2018", predicted=predicted))
    direct = perturbation_curves(
        bare(network), image, predicted, saliency[None], protocol="rise_2018"
    )
    assert torch.equal(followed.deletion, direct.deletion)
