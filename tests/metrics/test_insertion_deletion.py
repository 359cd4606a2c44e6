"""Metrics read from insertion and deletion curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, MetricInputs, perturbation_curves, resolve_metric
from lico_bench.metrics.insertion_deletion import SHARED_NAMES, curves_of
from tests.metrics.scripted_case import bare, picture


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
