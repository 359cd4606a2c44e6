"""The gradient family against pytorch-grad-cam, slow loops and closed forms."""

from __future__ import annotations

import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F

from lico_bench.saliency import explain
from lico_bench.saliency.gradient_cams import (
    CAMS,
    product_with_positive_gradients,
    share_weighted_gradients,
    weighted_positive_gradients,
)

ATOL_SUM = 1e-6  # 64 channels in float32
LIBRARY = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plus_plus": pytorch_grad_cam.GradCAMPlusPlus,
    "hires_cam": pytorch_grad_cam.HiResCAM,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
}


@pytest.fixture
def tensors():
    rng = torch.Generator().manual_seed(0)
    shape = (2, 3, 4, 5)
    return torch.rand(shape, generator=rng), torch.randn(shape, generator=rng)


def test_the_whole_family_has_an_oracle():
    assert set(CAMS) == set(LIBRARY)


@pytest.mark.parametrize("method", LIBRARY)
@pytest.mark.parametrize(
    ("backbone", "layer"), [("wrn_10_1", "features"), ("resnet18", "features.layer2")]
)
def test_maps_equal_pytorch_grad_cam(library, build, images, method, backbone, layer):
    classifier = build(backbone)
    targets = torch.arange(12) % 4
    ours = explain(classifier, images, targets, method=method, layer=layer)
    theirs = library.maps(LIBRARY[method], classifier, images, targets, layer=layer)
    library.assert_equal(ours, theirs)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "xgrad_cam"])
def test_with_a_pooled_linear_head_it_is_the_class_activation_map(build, images, method):
    classifier, images = build("wrn_10_1"), images[:2]
    targets = torch.tensor([2, 0])
    with torch.no_grad():
        features = classifier(images).features
        evidence = torch.einsum("nc,ncd->nd", classifier.head.weight[targets], features)
    positions = features.shape[2]
    expected = F.interpolate(
        (evidence / positions).relu().view(2, 1, 8, 8), (32, 32), mode="bilinear"
    )[:, 0]
    maps = explain(classifier, images, targets, method=method)
    assert torch.allclose(maps, expected, atol=ATOL_SUM)


def test_layer_cam_is_a_sum_of_positive_gradients_times_activations(tensors):
    activation, gradient = tensors
    evidence = product_with_positive_gradients(activation, gradient)
    for y in range(4):
        for x in range(5):
            expected = sum(
                max(float(gradient[1, c, y, x]), 0.0) * float(activation[1, c, y, x])
                for c in range(3)
            )
            assert float(evidence[1, y, x]) == pytest.approx(expected, abs=ATOL_SUM)


def test_grad_cam_plus_plus_is_the_formula_of_its_docstring(tensors):
    activation, gradient = (t[0].tolist() for t in tensors)
    expected = torch.zeros(4, 5)
    for a, g in zip(activation, gradient, strict=True):
        total = sum(map(sum, a))
        weight = sum(
            max(v, 0.0) * v**2 / (2 * v**2 + total * v**3 + 1e-6) for row in g for v in row
        )
        expected += weight * torch.tensor(a)
    evidence = weighted_positive_gradients(*tensors)[0]
    assert torch.allclose(evidence, expected, rtol=1e-5)


def test_a_channel_without_activations_counts_nothing(tensors):
    activation, gradient = tensors
    activation[:, 1] = 0
    kept = [0, 2]
    for weighting in CAMS.values():
        whole = weighting(activation, gradient)
        assert whole.isfinite().all()
        without = weighting(activation[:, kept], gradient[:, kept])
        assert torch.allclose(whole, without, atol=ATOL_SUM)


def test_xgrad_cam_keeps_the_sum_of_gradient_times_activation(tensors):
    # The paper's conservation axiom: the map's sum is the first-order part of the score.
    activation, gradient = tensors
    sums = share_weighted_gradients(activation, gradient).sum((1, 2))
    assert torch.allclose(sums, (activation * gradient).sum((1, 2, 3)), rtol=1e-4)
