"""Layer activations and gradients: rejected inputs, and unusual callers and models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.saliency import explain
from lico_bench.saliency.readouts import activation_and_gradient

TARGETS = torch.tensor([0, 1])


def small(*, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip


def test_the_gradient_is_that_of_a_whole_backward_pass(images):
    model = small()
    activation, gradient = activation_and_gradient(model, images[:2], TARGETS, layer="1")
    kept = model[1](model[0](images[:2]))
    kept.retain_grad()
    model[2:](kept).gather(1, TARGETS[:, None]).sum().backward()
    assert torch.allclose(activation, kept, atol=1e-6)
    assert torch.allclose(gradient, kept.grad, atol=1e-6)


def test_a_layer_before_one_that_writes_in_place_is_explained_as_before_any_other(images):
    for method in ("grad_cam", "eigen_cam"):
        maps = [
            explain(small(inplace=i), images[:2], TARGETS, method=method, layer="0")
            for i in (False, True)
        ]
        assert torch.equal(*maps)


def test_a_caller_in_inference_mode_gets_the_same_maps(build, images):
    classifier = build("wrn_10_1")
    expected = explain(classifier, images[:2], TARGETS, method="grad_cam")
    with torch.inference_mode():
        maps = explain(classifier, images[:2], TARGETS, method="grad_cam")
    assert torch.equal(maps, expected)


def test_a_forward_without_a_graph_is_refused_with_the_remedy(images):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small()

        @torch.no_grad()
        def forward(self, images):
            return self.body(images)

    with pytest.raises(InvalidInputError, match="no gradient reaches it"):
        explain(Frozen(), images[:2], TARGETS, method="grad_cam", layer="body.0")


def test_a_layer_that_the_logits_do_not_need_is_refused(images):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.aside, self.body = nn.Conv2d(3, 4, 3), small()

        def forward(self, images):
            self.aside(images)
            return self.body(images).requires_grad_()

    with pytest.raises(InvalidInputError, match="no gradient reaches it"):
        explain(Aside(), images[:2], TARGETS, method="grad_cam", layer="aside")


@pytest.mark.parametrize("method", ["grad_cam", "eigen_cam", "score_cam", "ablation_cam"])
def test_a_class_the_model_does_not_have_is_refused(build, images, method):
    with pytest.raises(InvalidInputError, match=r"expected classes in \[0, 4\), got \[1, 4\]"):
        explain(build("wrn_10_1"), images[:2], torch.tensor([4, 1]), method=method)


def test_a_model_that_names_no_layer_is_refused_with_the_remedy(images):
    with pytest.raises(InvalidInputError, match="pass layer="):
        explain(small(), images[:2], TARGETS, method="grad_cam")


def test_an_unknown_option_is_refused(build, images):
    with pytest.raises(UnknownNameError, match=r"option of method 'grad_cam' 'colour'"):
        explain(build("wrn_10_1"), images[:2], TARGETS, method="grad_cam", colour="red")


@pytest.mark.parametrize("method", ["grad_cam", "eigen_cam", "ablation_cam"])
def test_a_model_that_returns_another_number_of_rows_is_refused(images, method):
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, images):
            return torch.cat([self.net(images)] * 2)

    with pytest.raises(InvalidInputError, match=r"4|rows"):
        explain(Views(), images[:2], TARGETS, method=method, layer="net.0")
