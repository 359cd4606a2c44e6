"""The CAMs weighted by forward passes against pytorch-grad-cam, closed forms and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import AblationCAM, ScoreCAM
from scipy.ndimage import gaussian_filter1d
from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import default_micro_batch, tap
from lico_bench.saliency import SALIENCY, MapCostInputs, explain
from lico_bench.saliency.forward_cams import blurred_copies, group_masks
from lico_bench.saliency.readouts import activation_and_gradient

RTOL_FORWARD = 1e-4  # a forward of one image takes another kernel than one of 64
RTOL_DROP = 1e-3  # a drop is the difference of two close float32 scores
RTOL_IMPORTANCE = 1e-3  # importances are differences of close probabilities
TARGETS = torch.tensor([1])


def test_score_cam_equals_pytorch_grad_cam(library, build, images):
    classifier, targets = build("wrn_10_1"), torch.tensor([0, 1, 2, 3])
    ours = explain(classifier, images[:4], targets, method="score_cam")
    theirs = library.maps(ScoreCAM, classifier, images[:4], targets, layer="features")
    library.assert_equal(ours, theirs)


def test_score_cam_is_the_formula_of_its_docstring(build, images):
    classifier, image, target = build("wrn_10_1"), images[:1], 2
    layer = "features.1"  # 16 channels, signed
    kept = []
    handle = classifier.features[1].register_forward_hook(lambda m, i, o: kept.append(o[0]))
    with torch.no_grad():
        classifier(image)
        handle.remove()
        scores = []
        for channel in kept[0]:
            mask = F.interpolate(channel[None, None], (32, 32), mode="bilinear", align_corners=True)
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
            scores.append(classifier(image * mask).logits[0, target])
    weights = torch.stack(scores).softmax(0)
    expected = sum(w * channel for w, channel in zip(weights, kept[0], strict=True)).relu()
    ours = explain(classifier, image, torch.tensor([target]), method="score_cam", layer=layer)
    assert ours.max() > 0
    assert torch.allclose(ours[0], expected, rtol=RTOL_FORWARD, atol=1e-6)


def test_forwards_are_one_per_channel_in_micro_batches(images):
    sizes = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 50, 3)

        def forward(self, images):
            sizes.append(len(images))
            return self.conv(images).mean((2, 3))

    explain(Counting(), images[:2], torch.tensor([0, 1]), method="score_cam", layer="conv")
    size = default_micro_batch(images)
    assert sizes == [2, size, size]  # 100 jobs; the last micro-batch is filled up
    assert SALIENCY["score_cam"].cost(MapCostInputs(50, (32, 32))) == 51


def test_a_flat_channel_masks_everything_and_adds_nothing(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    maps = explain(model, images[:1], torch.tensor([0]), method="score_cam", layer="0")
    assert torch.equal(maps, torch.zeros(1, 32, 32))


def scored_above_zero(classifier, images):
    """The images whose best class scores above zero, and that class."""
    with torch.no_grad():
        best = classifier(images).logits.max(1)
    keep = best.values > 0
    assert keep.sum() >= 3
    return images[keep], best.indices[keep]


def test_ablation_cam_equals_pytorch_grad_cam(library, build, images):
    classifier = build("wrn_10_1")
    images, targets = scored_above_zero(classifier, images)
    images, targets = images[:4], targets[:4]
    ours = explain(classifier, images, targets, method="ablation_cam")
    theirs = library.maps(AblationCAM, classifier, images, targets, layer="features")
    library.assert_equal(ours, theirs)


def test_a_linear_tail_has_a_closed_form_whatever_the_sign_of_the_score(build, images):
    # Without channel c the logit falls by W_c mean(A_c).
    classifier = build("wrn_10_1")
    targets = torch.arange(12) % 4
    with torch.no_grad():
        output = classifier(images)
        score = output.logits.gather(1, targets[:, None])
        weights = classifier.head.weight[targets] * output.features.mean(2)
        evidence = torch.einsum("nc,ncd->nd", weights, output.features).view(12, 1, 8, 8).relu()
    assert (score < 0).any()
    assert (score > 0).any()
    expected = F.interpolate(evidence, (32, 32), mode="bilinear")[:, 0]
    maps = explain(classifier, images, targets, method="ablation_cam")
    assert torch.allclose(maps, expected, atol=RTOL_DROP * float(expected.max()))


def test_the_tail_alone_and_whole_forwards_give_the_same_map(build, images, monkeypatch):
    classifier, targets = build("wrn_10_1"), torch.tensor([0, 1])
    fast = explain(classifier, images[:2], targets, method="ablation_cam", layer="features.1")
    monkeypatch.setattr(tap, "_trace_tail", lambda *_: None)
    slow = explain(classifier, images[:2], targets, method="ablation_cam", layer="features.1")
    assert fast.max() > 0
    assert torch.allclose(fast, slow, atol=RTOL_DROP * float(fast.max()))


def test_the_network_before_the_layer_runs_once(build, images):
    classifier, calls = build("wrn_10_1"), []
    classifier.features.register_forward_hook(lambda *_: calls.append(None))
    explain(classifier, images[:2], torch.tensor([0, 1]), method="ablation_cam")
    assert len(calls) == 1


def test_a_score_of_zero_gives_a_flat_map(build, images):
    classifier = build("wrn_10_1")
    torch.nn.init.zeros_(classifier.head.weight)
    torch.nn.init.zeros_(classifier.head.bias)
    maps = explain(classifier, images[:1], torch.tensor([0]), method="ablation_cam")
    assert torch.equal(maps, torch.zeros(1, 32, 32))


def test_group_cam_is_the_formula_of_its_docstring(build, images):
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
    assert torch.allclose(maps[0], expected, atol=RTOL_IMPORTANCE * float(expected.max()))


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
