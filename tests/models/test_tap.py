"""Watching a layer leaves no trace; a replay gives what a whole forward gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import build_classifier, logits_of, scoring
from lico_bench.models.tap import Replay, tap


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


RTOL = 1e-4  # kernels differ between batch sizes
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def build(backbone: str) -> nn.Module:
    return build_classifier(backbone, num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)


def by_whole_forwards(model: nn.Module, layer: str, images, activation) -> torch.Tensor:
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda *_: activation.clone())
    try:
        with scoring(model):
            return logits_of(model(images))
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("make", "layer", "is_tail_only"),
    [
        (lambda: build("wrn_10_1"), "features", True),
        (lambda: build("wrn_10_1"), "features.0", True),
        (lambda: build("wrn_10_1"), "features.2.conv1", False),  # a shortcut around it
        (lambda: build("resnet18"), "features", True),
        (lambda: build("resnet18"), "features.layer4", True),
        (lambda: torchvision.models.resnet18(num_classes=4), "layer4", True),
        (lambda: torchvision.models.resnet18(num_classes=4), "layer3", True),
        (lambda: torchvision.models.resnet18(num_classes=4), "layer4.1.bn2", False),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True),
                               nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0", True),
    ],
)  # fmt: skip
def test_it_gives_the_logits_of_a_whole_forward(make, layer, is_tail_only):
    model = make()
    replay = Replay(model, IMAGES, layer)
    assert replay.is_tail_only is is_tail_only
    numbers = torch.tensor([2, 0])
    changed = replay.activation[numbers]
    changed[:, ::2] = 0
    expected = by_whole_forwards(model, layer, IMAGES[numbers], changed)
    with scoring(model):
        logits = replay(changed.clone(), numbers)
        assert torch.allclose(replay.logits, logits_of(model(IMAGES)), atol=1e-5)
    scale = float(expected.abs().max())
    assert torch.allclose(logits, expected, atol=RTOL * scale)
    assert not torch.allclose(logits, replay.logits[numbers], atol=RTOL * scale)


class Branching(nn.Module):
    """A forward that torch.fx cannot follow."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images):
        pooled = self.conv(images).mean((2, 3))
        return self.head(pooled if pooled.sum() > 0 else -pooled)


class ReadsSize(nn.Module):
    """Needs the number of its images besides the layer's output."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 30 * 30, 2)

    def forward(self, images):
        return self.head(self.conv(images).reshape(images.shape[0], -1))


class CalledTwice(nn.Module):
    """One module at two places; the last counts."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.next = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)

    def forward(self, images):
        first = self.act(self.conv(images))
        second = self.act(self.next(first))
        return second.mean((2, 3)) + first.mean((2, 3))


@pytest.mark.parametrize(("make", "layer"), [(Branching, "conv"), (ReadsSize, "conv")])
def test_a_model_that_cannot_be_cut_is_run_whole(make, layer):
    model = make()
    replay = Replay(model, IMAGES, layer)
    assert not replay.is_tail_only
    changed = replay.activation * 0.5
    expected = by_whole_forwards(model, layer, IMAGES, changed)
    with scoring(model):
        assert torch.allclose(replay(changed, torch.arange(3)), expected, atol=1e-6)


def test_the_last_call_of_a_module_is_the_one_replaced():
    model = CalledTwice()
    replay = Replay(model, IMAGES, "act")
    with scoring(model):
        first = F.relu(model.conv(IMAGES)).mean((2, 3))
        logits = replay(torch.zeros_like(replay.activation), torch.arange(3))
    assert torch.allclose(logits, first, atol=1e-6)


def test_a_cut_that_gives_other_logits_is_not_used():
    class WritesInPlace(nn.Module):
        """The write is no ancestor of the logits in the trace, and so is lost with the cut."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            maps = self.conv(images)
            maps.mul_(-2)
            return maps.mean((2, 3))

    model = WritesInPlace()
    replay = Replay(model, IMAGES, "conv")
    assert not replay.is_tail_only
    with scoring(model):
        logits = replay(torch.ones_like(replay.activation), torch.arange(3))
    assert torch.equal(logits, torch.full((3, 4), -2.0))


def test_the_model_is_left_as_it_was():
    model = build("wrn_10_1").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for layer in ("features", "features.2.conv1"):
        replay = Replay(model, IMAGES, layer)
        with scoring(model):
            replay(replay.activation.clone(), torch.arange(3))
        assert all(module.training and not module._forward_hooks for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_a_forward_keeps_on_the_module_is_a_real_tensor():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            self.kept = self.conv(images)
            return self.kept.mean((2, 3))

    model = Keeps()
    assert Replay(model, IMAGES, "conv").is_tail_only
    assert isinstance(model.kept, torch.Tensor)


def test_an_unknown_layer_and_one_without_maps_are_refused():
    model = build("wrn_10_1")
    with pytest.raises(UnknownNameError, match="near: features"):
        Replay(model, IMAGES, "feature")
    with pytest.raises(InvalidInputError, match="expected maps"):
        Replay(model, IMAGES, "head")
