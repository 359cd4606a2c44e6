"""Eigen-CAM against NumPy's singular vectors and pytorch-grad-cam, up to the sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

from lico_bench.errors import InvalidInputError
from lico_bench.saliency import explain
from lico_bench.saliency.eigen_cam import first_component

RTOL_SVD = 1e-4  # the oracle decomposes in float32


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
