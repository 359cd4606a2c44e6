"""The CAMs of one layer against pytorch-grad-cam, NumPy's singular vectors and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

from lico_bench.errors import InvalidInputError
from lico_bench.saliency import explain
from lico_bench.saliency.cams import (
    CAMS,
    first_component,
    product_with_positive_gradients,
    share_weighted_gradients,
    weighted_positive_gradients,
)

ATOL_SUM = 1e-6  # 64 channels in float32
EPSILON_LIBRARY = 1e-6  # in the denominator of pytorch-grad-cam's Grad-CAM++
LARGE_WEIGHTS = 1e3
LIBRARY = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plus_plus": pytorch_grad_cam.GradCAMPlusPlus,
    "hires_cam": pytorch_grad_cam.HiResCAM,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
}
RTOL_SVD = 1e-4  # the oracle decomposes in float32


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
    if method == "grad_cam_plus_plus":
        # The library's constant counts unless G² is much larger. G is about 10 here, and a term
        # loses more than ATOL_LIBRARY only if G is below 0.07 (ε / 2 G² = 1e-4).
        torch.nn.init.normal_(classifier.head.weight, std=LARGE_WEIGHTS)
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


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e3])
def test_grad_cam_plus_plus_is_the_formula_of_the_paper_at_every_scale(tensors, scale):
    activation, gradient = tensors[0][0].double(), scale * tensors[1][0].double()
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for a, g in zip(activation, gradient.tolist(), strict=True):
        total = float(a.sum())
        weight = sum(max(v, 0.0) * v**2 / (2 * v**2 + total * v**3) for row in g for v in row)
        expected += weight * a
    evidence = weighted_positive_gradients(tensors[0], scale * tensors[1])[0]
    assert torch.allclose(evidence.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 100.0])
def test_grad_cam_plus_plus_with_a_pooled_linear_head_has_a_closed_form(build, images, scale):
    # G = W / positions everywhere, so that w_c = positions ReLU(G) / (2 + G Σ A).
    classifier, targets = build("wrn_10_1"), torch.arange(12) % 4
    with torch.no_grad():
        classifier.head.weight *= scale
        features = classifier(images).features
        gradient = classifier.head.weight[targets] / features.shape[2]
        weights = features.shape[2] * gradient.relu() / (2 + gradient * features.sum(2))
        evidence = torch.einsum("nc,ncd->nd", weights, features).view(12, 1, 8, 8)
    expected = F.interpolate(evidence, (32, 32), mode="bilinear")[:, 0]
    maps = explain(classifier, images, targets, method="grad_cam_plus_plus")
    assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_grad_cam_plus_plus_differs_from_pytorch_grad_cam_by_its_constant(tensors, scale):
    activation, gradient = tensors[0].double(), scale * tensors[1].double()
    theirs = pytorch_grad_cam.GradCAMPlusPlus.get_cam_weights(
        None, None, None, None, activation.numpy(), gradient.numpy()
    )
    # The library adds ε to the denominator G² d, with d = 2 + G Σ A >= 2 where G > 0: a term G / d
    # loses (G / d) ε / (G² d + ε), which is at most G / 2 ε / (2 G² + ε).
    faint = gradient.relu()
    lost = (faint / 2 * EPSILON_LIBRARY / (2 * faint**2 + EPSILON_LIBRARY)).sum((2, 3))
    total = activation.sum((2, 3), keepdim=True)
    ours = (faint / (2 + total * gradient).where(gradient > 0, 1)).sum((2, 3))
    difference = ours - torch.from_numpy(theirs)
    assert (difference >= -1e-12).all()
    assert (difference <= lost + 1e-12).all()
    evidence = torch.einsum("nc,nchw->nhw", ours, activation)
    found = weighted_positive_gradients(activation, gradient)
    assert torch.allclose(found, evidence)


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


def activations(channels: int, side: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(channels)
    shared = torch.rand(3, 1, side, side, generator=rng)  # one direction stands out
    return (torch.rand(3, channels, side, side, generator=rng) + shared).relu()


@pytest.mark.parametrize(("channels", "side"), [(5, 6), (40, 4)])  # both Gram matrices
def test_centred_it_is_the_librarys_projection_up_to_sign(channels, side):
    ours = first_component(activations(channels, side), centred=True).numpy()
    theirs = get_2d_projection(activations(channels, side).numpy())
    sign = np.sign((ours * theirs).sum((1, 2), keepdims=True))
    np.testing.assert_allclose(ours, sign * theirs, atol=RTOL_SVD * np.abs(theirs).max())


@pytest.mark.parametrize(("channels", "side"), [(5, 6), (40, 4)])
def test_uncentred_it_is_the_first_singular_vector_and_positive(channels, side):
    given = activations(channels, side)
    ours = first_component(given, centred=False)
    for one, expected in zip(ours, given.flatten(2).mT.numpy(), strict=True):
        u, s, _ = np.linalg.svd(expected, full_matrices=False)
        np.testing.assert_allclose(one.flatten(), np.abs(u[:, 0] * s[0]), rtol=RTOL_SVD)


def test_it_is_large_where_the_layer_is_active():
    given = activations(40, 4)
    total = given.sum(1).flatten(1)
    for centred in (True, False):
        component = first_component(given, centred=centred).flatten(1)
        for one, active in zip(component, total, strict=True):
            assert torch.corrcoef(torch.stack([one, active]))[0, 1] > 0


def test_maps_equal_pytorch_grad_cam_where_its_sign_is_ours(library, build, images):
    from pytorch_grad_cam import EigenCAM

    classifier, targets = build("wrn_10_1"), torch.zeros(12, dtype=torch.int64)
    ours = explain(classifier, images, targets, method="eigen_cam")
    theirs = library.maps(EigenCAM, classifier, images, targets, layer="features")
    with torch.no_grad():
        maps = classifier(images).features.view(12, -1, 8, 8)
    mine, lapack = first_component(maps, centred=True).numpy(), get_2d_projection(maps.numpy())
    is_same = (mine * lapack).sum((1, 2)) > 0
    assert is_same.any()
    library.assert_equal(ours[torch.from_numpy(is_same)], theirs[is_same])


def test_every_class_gets_the_same_map(build, images):
    classifier = build("wrn_10_1")
    maps = [
        explain(classifier, images[:2], torch.tensor(t), method="eigen_cam")
        for t in ([0, 1], [2, 3])
    ]
    assert torch.equal(*maps)


def test_a_constant_activation_gives_a_flat_map():
    assert torch.equal(first_component(torch.ones(1, 4, 3, 3), centred=True), torch.zeros(1, 3, 3))


def test_activations_that_are_not_finite_are_refused():
    with pytest.raises(InvalidInputError, match="expected finite activations"):
        first_component(torch.full((1, 4, 3, 3), torch.nan), centred=True)
