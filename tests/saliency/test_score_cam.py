"""Score-CAM against pytorch-grad-cam and a slow loop over its definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_grad_cam import ScoreCAM
from torch import nn

from lico_bench.models import default_micro_batch
from lico_bench.saliency import SALIENCY, MapCostInputs, explain

RTOL_FORWARD = 1e-4  # a forward of one image takes another kernel than one of 64


def test_maps_equal_pytorch_grad_cam(library, build, images):
    classifier, targets = build("wrn_10_1"), torch.tensor([0, 1, 2, 3])
    ours = explain(classifier, images[:4], targets, method="score_cam")
    theirs = library.maps(ScoreCAM, classifier, images[:4], targets, layer="features")
    library.assert_equal(ours, theirs)


def test_it_is_the_formula_of_its_docstring(build, images):
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
