"""Ablation-CAM against pytorch-grad-cam, the closed form of a linear tail, and whole forwards."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_grad_cam import AblationCAM

from lico_bench.models import tap
from lico_bench.saliency import explain

RTOL_DROP = 1e-3  # a drop is the difference of two close float32 scores


def scored_above_zero(classifier, images):
    """The images whose best class scores above zero, and that class."""
    with torch.no_grad():
        best = classifier(images).logits.max(1)
    keep = best.values > 0
    assert keep.sum() >= 3
    return images[keep], best.indices[keep]


def test_maps_equal_pytorch_grad_cam(library, build, images):
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
