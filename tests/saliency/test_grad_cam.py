"""Grad-CAM against pytorch-grad-cam and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import build_classifier
from lico_bench.saliency import explain

ATOL_ORACLE = 1e-4  # the library rescales each map to [0, 1] in float32 and resizes with OpenCV


class Logits(nn.Module):
    """pytorch-grad-cam wants a model that returns a tensor."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(images).logits


def build(backbone: str):
    return build_classifier(backbone, num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)


@pytest.mark.parametrize(("backbone", "layer"), [("wrn_10_1", "features"), ("resnet18", "layer2")])
def test_maps_equal_pytorch_grad_cam(backbone: str, layer: str):
    classifier = build(backbone).eval()
    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(12) % 4
    name = layer if layer == "features" else f"features.{layer}"
    ours = explain(classifier, images, targets, method="grad_cam", layer=name).numpy()
    module = dict(classifier.named_modules())[name]
    with GradCAM(Logits(classifier), [module]) as cam:
        theirs = cam(images, [ClassifierOutputTarget(int(t)) for t in targets])
    is_flat = ours.max((1, 2)) == ours.min((1, 2))
    assert is_flat.sum() <= 6  # a flat map compares nothing
    ours, theirs = ours[~is_flat], theirs[~is_flat]
    low, high = ours.min((1, 2), keepdims=True), ours.max((1, 2), keepdims=True)
    np.testing.assert_allclose((ours - low) / (high - low), theirs, atol=ATOL_ORACLE)


def test_with_a_pooled_linear_head_it_is_the_class_activation_map():
    classifier = build("wrn_10_1").eval()
    images = torch.rand(2, 3, 32, 32)
    targets = torch.tensor([2, 0])
    with torch.no_grad():
        features = classifier(images).features
        evidence = torch.einsum("nc,ncd->nd", classifier.head.weight[targets], features)
    positions = features.shape[2]
    expected = F.interpolate(
        (evidence / positions).relu().view(2, 1, 8, 8), (32, 32), mode="bilinear"
    )[:, 0]
    maps = explain(classifier, images, targets, method="grad_cam")
    assert torch.allclose(maps, expected, atol=1e-6)


def test_a_model_that_names_no_layer_is_refused_with_the_remedy():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(InvalidInputError, match="pass layer="):
        explain(model, images, torch.tensor([0]), method="grad_cam")
    maps = explain(model, images, torch.tensor([0]), method="grad_cam", layer="0")
    assert maps.shape == (1, 8, 8)


def test_an_unknown_option_is_refused():
    with pytest.raises(UnknownNameError, match=r"option of method 'grad_cam' 'colour'"):
        explain(build("wrn_10_1"), torch.rand(1, 3, 32, 32), torch.tensor([0]),
                method="grad_cam", colour="red")  # fmt: skip
