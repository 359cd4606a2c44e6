"""Watching a layer leaves no trace."""

from __future__ import annotations

import pytest
import torch

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import build_classifier
from lico_bench.models.tap import tap


@pytest.fixture
def classifier():
    return build_classifier(
        "wrn_10_1", num_classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).train()


def is_untouched(classifier) -> bool:
    hooks = sum(len(m._forward_hooks) for m in classifier.modules())
    return (
        hooks == 0
        and all(m.training for m in classifier.modules())
        and all(p.requires_grad for p in classifier.parameters())
    )


def test_gradient_at_the_tap_equals_the_gradient_of_the_whole_network(classifier):
    images = torch.rand(2, 3, 32, 32)
    with tap(classifier, "features.2") as point:
        classifier(images).logits[:, 1].sum().backward()
        tapped, activation = point.activation.grad, point.activation.detach()
    whole = {}
    module = classifier.features[2]
    handle = module.register_forward_hook(
        lambda _m, _i, output: (output.retain_grad(), whole.update(maps=output))[0]
    )
    classifier.eval()(images).logits[:, 1].sum().backward()
    handle.remove()
    assert torch.allclose(activation, whole["maps"], atol=1e-6)
    assert torch.allclose(tapped, whole["maps"].grad, atol=1e-6)


def test_the_model_is_as_before(classifier):
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    with tap(classifier, "features"):
        classifier(torch.rand(2, 3, 32, 32))
    assert is_untouched(classifier)
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())


def test_the_model_is_as_before_after_an_error(classifier):
    with pytest.raises(RuntimeError), tap(classifier, "features"):
        classifier(torch.rand(2, 5, 32, 32))
    assert is_untouched(classifier)


def test_an_unknown_layer_lists_near_ones(classifier):
    with pytest.raises(UnknownNameError, match="near: features"), tap(classifier, "feature"):
        pass
    assert is_untouched(classifier)


def test_a_layer_without_maps_is_refused(classifier):
    with (
        pytest.raises(InvalidInputError, match="name a convolutional layer"),
        tap(classifier, "head"),
    ):
        classifier(torch.rand(2, 3, 32, 32))
    assert is_untouched(classifier)


def test_a_layer_that_is_not_reached_is_said(classifier):
    with (
        tap(classifier, "features") as point,
        pytest.raises(InvalidInputError, match="was not reached"),
    ):
        _ = point.activation
