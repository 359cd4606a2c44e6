"""Maps of changed images: sensitivities by their formulas, equivariance of known explainers."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, MetricInputs, resolve_metric
from lico_bench.metrics.robustness import (
    DRAWS,
    _affine,
    _transform,
    avg_sensitivity,
    local_lipschitz,
    max_sensitivity,
)
from lico_bench.runtime import make_generator
from lico_bench.saliency import explain
from tests.metrics.explained_case import NUM_IMAGES, in_batches, inputs_of, trained_net
from tests.metrics.localised_case import localised

EVERY_METRIC = (max_sensitivity, avg_sensitivity, local_lipschitz)
RTOL_FP32 = 1e-4  # two float32 routes through the network, then a difference of close maps
RTOL_BATCH = 1e-3  # a batch of one may take another kernel, and the maps differ by a few percent
ATOL_FP32 = 1e-5
SES = METRICS["ses"]
CROPS = {"area": (0.08, 1.0), "max_aspect": 4 / 3, "flips": 0.5}


def brightness(_model, images, _targets):
    return images.mean(1)


def linear_inputs():
    inputs = inputs_of()
    return replace(inputs, explainer=brightness, maps=inputs.images.mean(1))


def near_images(inputs, samples: int, radius: float) -> torch.Tensor:
    """The images near each one (samples, N, 3, H, W), one image at a time."""
    near = []
    for row, image in enumerate(inputs.images):
        rng = make_generator(inputs.seed, f"neighbours:{inputs.key(row)}")
        near.append(
            torch.stack(
                [
                    (image + radius * (2 * torch.rand(image.shape, generator=rng) - 1)).clamp(0, 1)
                    for _ in range(samples)
                ]
            )
        )
    return torch.stack(near, 1)


def test_scores_are_the_written_formulas():
    inputs = linear_inputs()
    change, distance = [], []
    for near in near_images(inputs, 5, 0.05):
        moved = (near.mean(1) - inputs.maps).flatten(1).norm(dim=1)
        change.append(moved / inputs.maps.flatten(1).norm(dim=1))
        distance.append((near - inputs.images).flatten(1).norm(dim=1))
    change, distance = torch.stack(change), torch.stack(distance)
    assert torch.allclose(max_sensitivity(inputs), change.amax(0), rtol=RTOL_FP32)
    assert torch.allclose(avg_sensitivity(inputs), change.mean(0), rtol=RTOL_FP32)
    assert torch.allclose(local_lipschitz(inputs), (change / distance).amax(0), rtol=RTOL_FP32)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (max_sensitivity, "MaxSensitivity"),
        (avg_sensitivity, "AvgSensitivity"),
        (local_lipschitz, "LocalLipschitzEstimate"),
    ],
)
def test_quantus_says_the_same_of_the_same_images(ours, theirs: str):
    import quantus

    inputs = inputs_of()
    steps = iter(near_images(inputs, 3, 0.05).flatten(2).numpy())

    # A Lipschitz estimate in units of the first map, which Quantus has no option for.
    size = inputs.maps.flatten(1).norm(dim=1)[:, None, None]
    unit = size if ours is local_lipschitz else torch.ones_like(size)

    def explain_func(model, inputs, targets):
        images, classes = torch.from_numpy(inputs), torch.from_numpy(targets)
        return (explain(model, images, classes, method="grad_cam") / unit)[:, None].numpy()

    scorer = getattr(quantus, theirs)(
        nr_samples=3, normalise=False, abs=False, disable_warnings=True,
        perturb_func=lambda arr, indices, **_: next(steps),
    )  # fmt: skip
    scores = scorer(
        model=trained_net(), x_batch=inputs.images.numpy(), y_batch=inputs.targets.numpy(),
        a_batch=(inputs.maps / unit)[:, None].numpy(), explain_func=explain_func,
        batch_size=NUM_IMAGES, channel_first=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours(inputs, num_samples=3), scores, rtol=RTOL_FP32)


@pytest.mark.parametrize("size", [1, 3])
def test_scores_do_not_depend_on_the_batch(size: int):
    for compute in EVERY_METRIC:
        whole = in_batches(compute, NUM_IMAGES)
        assert torch.allclose(in_batches(compute, size), whole, rtol=RTOL_BATCH)


def test_the_three_scores_share_their_maps_and_cost_the_budget():
    inputs = inputs_of()
    sent = []
    inner = inputs.explainer
    inputs = replace(inputs, explainer=lambda m, x, y: (sent.append(len(x)), inner(m, x, y))[1])
    for compute in EVERY_METRIC:
        compute(inputs, num_samples=4)
    assert sum(sent) == 4 * NUM_IMAGES
    cost = METRICS["max_sensitivity"].cost(inputs.protocol, num_samples=4)
    assert cost.explains == 4


def test_a_method_that_ignores_the_image_has_no_sensitivity():
    for compute in EVERY_METRIC:
        assert (compute(inputs_of("center_map")) == 0).all()
        assert (compute(inputs_of("edge_map")) > 0).all()


def test_maps_of_zeros_have_a_defined_change():
    inputs = linear_inputs()
    zero = torch.zeros_like(inputs.maps)
    assert torch.allclose(max_sensitivity(replace(inputs, maps=zero)), torch.ones(NUM_IMAGES))
    vanishing = replace(inputs, explainer=lambda _model, _images, _targets: zero)
    assert torch.allclose(avg_sensitivity(vanishing), torch.ones(NUM_IMAGES))
    for compute in EVERY_METRIC:
        assert (compute(replace(vanishing, maps=zero)) == 0).all()


def test_scores_forget_the_scale_of_the_maps():
    plain = linear_inputs()
    faint = replace(
        plain,
        maps=plain.maps * 1e-25,
        explainer=lambda model, x, y: brightness(model, x, y) * 1e-25,
    )
    for compute in EVERY_METRIC:
        assert torch.allclose(compute(plain), compute(faint), rtol=RTOL_FP32)


def test_images_near_by_are_images_within_the_radius():
    inputs = linear_inputs()
    seen = []
    inputs = replace(
        inputs,
        images=(inputs.images > 0.5).float(),
        explainer=lambda m, x, y: (seen.append(x), brightness(m, x, y))[1],
    )
    max_sensitivity(inputs, radius=0.1)
    for images in seen:
        assert images.min() >= 0
        assert images.max() <= 1
        assert (images - inputs.images).abs().max() <= 0.1 + 1e-6
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_global_generators_are_left_alone_and_the_seed_decides():
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is watched
    first, again, other = (max_sensitivity(inputs_of(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_rules_out_of_range_and_maps_alone_are_refused():
    with pytest.raises(InvalidInputError, match="num_samples"):
        max_sensitivity(inputs_of(), num_samples=0)
    with pytest.raises(InvalidInputError, match="radius"):
        max_sensitivity(inputs_of(), radius=0.0)
    with pytest.raises(InvalidInputError, match="computes new maps"):
        max_sensitivity(replace(inputs_of(), explainer=None))


def grey(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
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
    assert torch.allclose(SES.compute(case(grey)), torch.ones(3), atol=ATOL_FP32)


def test_a_map_that_ignores_the_image_scores_less():
    assert (SES.compute(case(blind)) < 0.99).all()


def test_a_constant_map_follows_nothing():
    for level in (0.0, 1.0):
        flat = case(lambda _n, x, _t, level=level: torch.full_like(x[:, 0], level))
        assert SES.compute(flat).tolist() == [0, 0, 0]
    half = case(grey)
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
            SES.compute(case(grey), **wrong)
    with pytest.raises(InvalidInputError, match="num_crops"):
        SES.compute(case(grey), num_crops=0)


def test_maps_alone_are_refused():
    assert "explainer" in inspect.signature(MetricInputs).parameters
    with pytest.raises(InvalidInputError, match="computes new maps"):
        SES.compute(localised(torch.rand(1, 8, 8), None))
