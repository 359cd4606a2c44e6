"""Sensitivity of maps to small changes: closed forms, Quantus with the same noise, budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from explained_case import NUM_IMAGES, in_batches, inputs_of, trained_net

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS
from lico_bench.metrics.robustness import avg_sensitivity, local_lipschitz, max_sensitivity
from lico_bench.runtime import make_generator
from lico_bench.saliency import explain

EVERY_METRIC = (max_sensitivity, avg_sensitivity, local_lipschitz)
RTOL_FP32 = 1e-4  # two float32 routes through the network, then a difference of close maps
RTOL_BATCH = 1e-3  # a batch of one may take another kernel, and the maps differ by a few percent


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
