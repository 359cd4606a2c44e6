"""Equivariance on explainers that follow the image, ignore it, or see nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from localised_case import localised
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, MetricInputs, resolve_metric
from lico_bench.metrics.robustness import DRAWS, _affine, _transform

ATOL_FP32 = 1e-5
SES = METRICS["ses"]
CROPS = {"area": (0.08, 1.0), "max_aspect": 4 / 3, "flips": 0.5}


def brightness(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """A map that moves with the image, exactly: bilinear sampling is linear."""
    return images.mean(1)


def blind(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    ramp = torch.arange(images.shape[3], dtype=torch.float32) + 1
    return ramp.expand(len(images), *images.shape[2:]).clone()


def case(explainer, *, seed: int = 0, num_images: int = 3, size: tuple[int, int] = (20, 24)):
    images = torch.rand(num_images, 3, *size, generator=torch.Generator().manual_seed(seed))
    targets = torch.zeros(num_images, dtype=torch.int64)
    maps = explainer(nn.Identity(), images, targets)
    ids = tuple(f"test/{i}" for i in range(num_images))
    inputs = localised(maps, None, network=nn.Identity(), explainer=explainer, image_ids=ids)
    return replace(inputs, images=images)


def test_a_map_that_moves_with_the_image_scores_one():
    assert torch.allclose(SES.compute(case(brightness)), torch.ones(3), atol=ATOL_FP32)


def test_a_map_that_ignores_the_image_scores_less():
    assert (SES.compute(case(blind)) < 0.99).all()


def test_a_constant_map_follows_nothing():
    for level in (0.0, 1.0):
        flat = case(lambda _n, x, _t, level=level: torch.full_like(x[:, 0], level))
        assert SES.compute(flat).tolist() == [0, 0, 0]
    half = case(brightness)
    half = replace(half, explainer=lambda _n, x, _t: torch.zeros_like(x[:, 0]))
    assert SES.compute(half).tolist() == [0, 0, 0]


def test_crops_follow_the_image_and_not_the_batch_and_cost_a_map_each():
    requested: list[Tensor] = []

    def recording(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        requested.append(images)
        return blind(network, images, targets)

    whole = case(recording)
    requested.clear()
    found = SES.compute(whole)
    assert len(requested) == 4 == SES.cost(whole.protocol).explains
    assert resolve_metric("ses(num_crops=2)").cost(whole.protocol).explains == 2
    first = [crop[1:2] for crop in requested]
    requested.clear()
    alone = replace(
        whole, images=whole.images[1:2], maps=whole.maps[1:2], targets=whole.targets[1:2],
        image_ids=whole.image_ids[1:2],
    )  # fmt: skip
    assert torch.allclose(SES.compute(alone), found[1:2], atol=ATOL_FP32)
    assert all(torch.allclose(a, b, atol=ATOL_FP32) for a, b in zip(first, requested, strict=True))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-20, 0.1, 1e15]))
def test_the_maps_scale_does_not_matter(seed: int, scale: float):
    plain = SES.compute(case(blind, seed=seed))
    scaled = case(lambda n, x, t: blind(n, x, t) * scale, seed=seed)
    assert torch.allclose(SES.compute(scaled), plain, atol=ATOL_FP32)
    assert ((plain >= -1) & (plain <= 1)).all()


def test_a_crop_is_that_of_torchvision_inside_its_rim():
    rng = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 32, 40, generator=rng)
    for _ in range(10):
        draws = torch.rand(1, DRAWS, generator=rng)
        theta = _affine(draws, image.shape[2:], **CROPS)
        flipped = bool(draws[0, 4] < 0.5)
        wide, tall = abs(float(theta[0, 0, 0])) * 40, float(theta[0, 1, 1]) * 32
        left = ((float(theta[0, 0, 2]) + 1) * 40 - wide) / 2
        top = ((float(theta[0, 1, 2]) + 1) * 32 - tall) / 2
        box = [round(v) for v in (top, left, tall, wide)]
        assert box == pytest.approx([top, left, tall, wide], abs=1e-4)
        expected = transforms.resized_crop(image, *box, [32, 40], antialias=False)
        expected = expected.flip(-1) if flipped else expected
        found = _transform(image, theta)
        # Half a stored pixel at the rim sees beyond the crop, where torchvision repeats its border.
        rim_y, rim_x = (int(np.ceil(side / crop)) for side, crop in ((32, tall), (40, wide)))
        inner = (..., slice(rim_y, 32 - rim_y), slice(rim_x, 40 - rim_x))
        assert torch.allclose(found[inner], expected[inner], atol=1e-4)


def test_crops_have_the_areas_and_aspects_that_the_rules_say():
    draws = torch.rand(4000, DRAWS, generator=torch.Generator().manual_seed(6))
    theta = _affine(draws, torch.Size((224, 224)), **CROPS)
    wide, tall = theta[:, 0, 0].abs() * 224, theta[:, 1, 1] * 224
    area, aspect = wide * tall / 224**2, wide / tall
    assert area.min() >= 0.075  # rounded to pixels
    assert 0.51 < float(area.mean()) < 0.55  # 0.54, less what is cut at the border
    assert 3 / 4 - 0.02 < aspect.min() < aspect.max() < 4 / 3 + 0.03
    assert float((theta[:, 0, 0] < 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    corner = theta[:, :, 2].abs() + torch.stack([wide, tall], 1) / 224
    assert corner.max() <= 1 + 1e-5


def test_the_crops_are_rules():
    assert {"num_crops", "min_area", "max_area", "max_aspect", "flips"} == set(SES.rules)
    for wrong in ({"min_area": 0}, {"min_area": 0.9, "max_area": 0.5}, {"flips": 2}):
        with pytest.raises(InvalidInputError, match="ses: expected"):
            SES.compute(case(brightness), **wrong)
    with pytest.raises(InvalidInputError, match="num_crops"):
        SES.compute(case(brightness), num_crops=0)


def test_maps_alone_are_refused():
    assert "explainer" in inspect.signature(MetricInputs).parameters
    with pytest.raises(InvalidInputError, match="computes new maps"):
        SES.compute(localised(torch.rand(1, 8, 8), None))
