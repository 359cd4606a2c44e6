"""Each protocol's curves against a loop written from its source's description."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, perturbation_curves
from lico_bench.metrics.perturbation import insertion_baseline, near_box
from lico_bench.models import build_classifier
from lico_bench.records import IMAGENET_MEAN, Protocol
from tests.metrics.scripted_case import MEAN, STD, bare, picture

ATOL_SCRIPT = 1e-4  # one script runs in numpy and another order of operations


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
