"""Contrastive Grad-CAM consistency, against its definition and the harness's own Grad-CAM."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lico_bench.data import load_dataset
from lico_bench.errors import InvalidInputError
from lico_bench.saliency import explain
from lico_bench.training import ARMS
from lico_bench.training.arms.cgc import (
    CgcOptions,
    apply_crops,
    contrast,
    draw_crops,
    label_maps,
)
from lico_bench.training.loop import prepare


@pytest.fixture
def session(recipe):
    return prepare(replace(recipe, arm="cgc"), device="cpu")


def test_maps_are_grad_cam_before_upsampling(session):
    classifier = session.classifier.eval()
    images = load_dataset("cifar10", "test", source="standin", limit=4)
    pictures, labels = images.images, images.labels
    maps = label_maps(classifier(pictures), labels).unflatten(1, (8, 8))
    theirs = explain(classifier, pictures, labels, method="grad_cam")
    ours = torch.nn.functional.interpolate(
        maps[:, None], size=(32, 32), mode="bilinear", align_corners=False
    )[:, 0]
    for one, other in zip(ours.detach(), theirs, strict=True):
        one, other = (m / m.max().clamp_min(1e-12) for m in (one, other))
        assert torch.allclose(one, other, atol=1e-4)


def test_contrast_is_its_formula():
    rng = torch.Generator().manual_seed(0)
    queries, keys = torch.rand(2, 5, 3, 4, generator=rng, dtype=torch.float64)
    total = 0.0
    for i in range(5):
        q = queries[i].flatten()
        logits = [
            float(q @ keys[j].flatten() / (q.norm() * keys[j].norm())) / 0.5 for j in range(5)
        ]
        total -= logits[i] - math.log(sum(math.exp(v) for v in logits))
    assert contrast(queries, keys, temperature=0.5) == pytest.approx(total / 5, abs=1e-6)


def test_contrast_is_least_where_maps_agree():
    maps = torch.eye(4).view(4, 2, 2)
    agreeing = contrast(maps, maps, temperature=0.5)
    crossed = contrast(maps, maps.roll(1, 0), temperature=0.5)
    assert agreeing < crossed
    assert contrast(torch.ones(4, 2, 2), torch.ones(4, 2, 2), temperature=0.5) == pytest.approx(
        math.log(4)
    )


def test_the_whole_image_is_itself_and_a_flip_mirrors_it():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]).expand(2, -1)
    assert torch.allclose(apply_crops(images, whole, (8, 8)), images, atol=1e-6)
    mirrored = whole * torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0])
    assert torch.allclose(apply_crops(images, mirrored, (8, 8)), images.flip(-1), atol=1e-6)


def test_an_image_and_its_map_are_cropped_at_the_same_place():
    """A bright lower right quarter stays where the crop puts it, at both resolutions."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16:, 16:] = 1
    low = torch.nn.functional.avg_pool2d(image, 4)
    for crop in ([0.5, 0.5, 0.5, 0.5, 1.0], [0.0, 0.25, 0.75, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5, -1]):
        box = torch.tensor([crop])
        large = torch.nn.functional.avg_pool2d(apply_crops(image, box, (32, 32)), 4)
        assert (large - apply_crops(low, box, (8, 8))).abs().max() < 0.35  # one blurred edge
    quarter = apply_crops(image, torch.tensor([[0.5, 0.5, 0.5, 0.5, 1.0]]), (8, 8))
    assert quarter.mean() > 0.95


def test_crops_stay_inside_the_image():
    centre_y, centre_x, height, width, mirror = draw_crops(
        2000, 0.2, torch.Generator().manual_seed(0)
    ).T
    assert (centre_y.abs() + height <= 1 + 1e-6).all()
    assert (centre_x.abs() + width <= 1 + 1e-6).all()
    assert (height * width).min() > 0.19
    assert (height * width).max() > 0.9
    assert set(mirror.tolist()) == {-1.0, 1.0}


@pytest.mark.slow
def test_a_training_records_a_consistency_that_falls(recipe):
    recipe = replace(recipe, arm="cgc", train_limit=128, epochs=6, objective=(("weight", 5.0),))
    session = prepare(recipe, device="cpu")
    for _ in range(recipe.epochs):
        for _ in session.run_epoch():
            pass
    seen = [value for _, name, value in session.history if name == "consistency"]
    assert seen[-1] < seen[0] - 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature: expected a number above 0"),
        ({"weight": -1.0}, "weight: expected a number of at least 0"),
        ({"least_area": 0.0}, "least_area: expected a share"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        CgcOptions(**changes)


def test_a_batch_of_one_has_nothing_to_contrast(recipe):
    with pytest.raises(InvalidInputError, match="set batch_size to 2"):
        ARMS["cgc"].options.check(replace(recipe, arm="cgc", batch_size=1))


def test_a_compiled_classifier_is_refused(recipe):
    with pytest.raises(InvalidInputError, match=r"leave recipe\.compile off"):
        ARMS["cgc"].options.check(replace(recipe, arm="cgc", compile=True))


@pytest.mark.slow
def test_maps_have_their_gradient_in_half_precision_too(recipe):
    session = prepare(replace(recipe, arm="cgc", precision="bfloat16", epochs=1), device="cpu")
    for _ in session.run_epoch():
        pass
    seen = {name: value for _, name, value in session.history}
    assert seen["consistency_gradient_norm"] > 0
