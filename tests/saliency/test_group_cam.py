"""Group-CAM against a slow loop over its definition; its masks and its blur by their properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d

from lico_bench.errors import InvalidInputError
from lico_bench.saliency import SALIENCY, MapCostInputs, explain
from lico_bench.saliency.group_cam import blurred_copies, group_masks
from lico_bench.saliency.layer_maps import activation_and_gradient

RTOL_FORWARD = 1e-3  # importances are differences of close probabilities
TARGETS = torch.tensor([1])


def test_it_is_the_formula_of_its_docstring(build, images):
    classifier, image = build("wrn_10_1"), images[:1]
    activation, gradient = activation_and_gradient(classifier, image, TARGETS, layer=None)
    weighted = (gradient.mean((2, 3), keepdim=True) * activation)[0]
    hazy, expected = blurred_copies(image), torch.zeros(32, 32)

    def probability(pictures):
        with torch.no_grad():
            return classifier(pictures).logits.softmax(1)[0, 1]

    for group in weighted.view(8, 8, 8, 8):  # 8 groups of 8 channels
        mask = group.sum(0).relu().numpy()
        mask = np.where(mask > np.percentile(mask, 60), mask, 0)
        if mask.max() > mask.min():
            mask = (mask - mask.min()) / (mask.max() - mask.min())
        mask = F.interpolate(torch.tensor(mask)[None, None], (32, 32), mode="bilinear")[0, 0]
        shown = image * mask + hazy * (1 - mask)
        expected += (probability(shown) - probability(hazy)) * mask
    maps = explain(classifier, image, TARGETS, method="group_cam", num_groups=8, threshold=0.6)
    expected = expected.relu()
    assert expected.max() > 0
    assert torch.allclose(maps[0], expected, atol=RTOL_FORWARD * float(expected.max()))


def test_masks_are_between_zero_and_one_with_their_noise_at_zero():
    rng = torch.Generator().manual_seed(0)
    activation, gradient = (torch.randn(2, 40, 10, 10, generator=rng) for _ in range(2))
    masks = group_masks(activation, gradient, num_groups=32, threshold=0.7)
    assert masks.shape == (2, 32, 10, 10)
    assert masks.min() == 0
    assert masks.amax((2, 3)).eq(1).all()
    assert (masks == 0).float().mean((2, 3)).ge(0.7).all()


def test_a_layer_with_fewer_channels_than_groups_has_a_mask_per_channel():
    activation, gradient = torch.rand(1, 5, 4, 4), torch.ones(1, 5, 4, 4)
    masks = group_masks(activation, gradient, num_groups=32, threshold=0)
    assert masks.shape[1] == 5
    cost = SALIENCY["group_cam"].cost
    assert cost(MapCostInputs(5, (32, 32))) == 7
    assert cost(MapCostInputs(512, (32, 32)), num_groups=16) == 18


def test_negative_evidence_gives_masks_of_zeros():
    masks = group_masks(torch.rand(1, 4, 3, 3), -torch.ones(1, 4, 3, 3), num_groups=2, threshold=0)
    assert torch.equal(masks, torch.zeros(1, 2, 3, 3))


def test_the_blur_is_a_gaussian_cut_off_at_half_its_sigma():
    pictures = torch.rand(2, 3, 224, 230, generator=torch.Generator().manual_seed(0))
    expected = pictures.double().numpy()
    for axis in (2, 3):
        # The paper's 51 px and sigma 50 px; SciPy calls mirroring without the border `mirror`.
        expected = gaussian_filter1d(expected, 50, axis=axis, radius=25, mode="mirror")
    np.testing.assert_allclose(blurred_copies(pictures), expected, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_groups": 0}, {"threshold": 1.0}, {"threshold": -0.1}])
def test_options_out_of_range_are_refused(build, images, options):
    with pytest.raises(InvalidInputError, match=f"{next(iter(options))}: expected"):
        explain(build("wrn_10_1"), images[:1], TARGETS, method="group_cam", **options)
