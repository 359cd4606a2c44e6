"""The contract of every registered method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import build_classifier
from lico_bench.saliency import SALIENCY, explain

ATOL_BATCH = 1e-5  # a batch of one may take another kernel
WITH_LAYER = tuple(name for name in SALIENCY if SALIENCY[name].needs_layer)
ASKING = tuple(name for name in SALIENCY if not SALIENCY[name].is_control)
# Reduced options for costly methods; the contract does not depend on them.
CHEAP: dict[str, dict[str, Any]] = {
    "rise": {"num_masks": 16},
    "group_cam": {"num_groups": 4},
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"window": 0.5, "stride": 0.5},
}
PIXELS = {"score_cam": 32}  # of the ResNets' images; it has no option to make fewer forwards


def cheap_explain(model, images, targets, *, method: str, **options: Any) -> torch.Tensor:
    return explain(model, images, targets, method=method, **CHEAP.get(method, {}), **options)


def own_network(*, inplace: bool = False) -> nn.Sequential:
    """A user model: no declared layer, BatchNorm and dropout, a linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=inplace),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 4),
        )  # fmt: skip


def layer_of_own(method: str) -> dict[str, str]:
    return {"layer": "1"} if method in WITH_LAYER else {}


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """State that a method must not change."""
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "training": [module.training for module in model.modules()],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            + len(module._backward_hooks) + len(module._backward_pre_hooks)
            for module in model.modules()
        ],
        "trainable": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "rng": torch.random.get_rng_state(),
    }  # fmt: skip


def assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    after = fingerprint(model)
    for name in ("training", "hooks", "trainable", "gradients"):
        assert after[name] == before[name], name
    assert torch.equal(after["rng"], before["rng"])
    for name, value in before["state"].items():
        assert torch.equal(after["state"][name], value), name


@pytest.mark.parametrize("method", SALIENCY)
def test_shape_type_and_finiteness(case, method: str):
    maps = cheap_explain(*case, method=method)
    assert maps.shape == (4, 32, 32)
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert not maps.is_inference()


@pytest.mark.parametrize("method", SALIENCY)
def test_the_same_call_gives_the_same_maps(case, method: str):
    first, again = (cheap_explain(*case, method=method) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("method", SALIENCY)
def test_a_batch_is_its_images_one_by_one(case, method: str):
    model, images, targets = case
    whole = cheap_explain(model, images, targets, method=method)
    for i in range(4):
        alone = cheap_explain(model, images[i : i + 1], targets[i : i + 1], method=method)
        assert torch.allclose(whole[i : i + 1], alone, atol=ATOL_BATCH)


@pytest.mark.parametrize("method", SALIENCY)
def test_a_model_in_training_mode_is_left_so_and_explained_as_in_evaluation_mode(method: str):
    model, images = own_network(), torch.rand(2, 3, 16, 16)
    model(torch.rand(8, 3, 16, 16))  # BatchNorm has seen something
    targets = torch.tensor([0, 3])
    before = fingerprint(model)
    maps = cheap_explain(model, images, targets, method=method, **layer_of_own(method))
    assert_untouched(model, before)
    expected = cheap_explain(model.eval(), images, targets, method=method, **layer_of_own(method))
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("method", SALIENCY)
def test_a_model_with_frozen_parts_keeps_them_so(method: str):
    model = own_network(inplace=True).eval()
    model[0].requires_grad_(False)
    model[1].train()
    images = torch.rand(2, 3, 16, 16)
    before = fingerprint(model)
    cheap_explain(model, images, torch.tensor([0, 3]), method=method, **layer_of_own(method))
    assert_untouched(model, before)


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("family", ["classifier", "torchvision"])
def test_a_resnet_works_out_of_the_box(method: str, family: str, resnets):
    model, size = resnets[family], PIXELS.get(method, 64)
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = fingerprint(model)
    maps = cheap_explain(model, images, torch.tensor([1]), method=method)
    assert maps.shape == (1, size, size)
    assert maps.isfinite().all()
    assert_untouched(model, before)


@pytest.fixture(scope="module")
def resnets():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = torchvision.models.resnet18(num_classes=4)
    ours = build_classifier("resnet18", num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    return {"classifier": ours, "torchvision": plain}


@pytest.mark.parametrize("method", WITH_LAYER)
def test_a_wrong_layer_name_lists_near_ones(case, method: str):
    before = fingerprint(case[0])
    with pytest.raises(UnknownNameError, match=r"no layer 'featurs'; near: features"):
        cheap_explain(*case, method=method, layer="featurs")
    assert_untouched(case[0], before)


@pytest.mark.parametrize("method", WITH_LAYER)
def test_a_layer_that_is_not_convolutional_is_refused(case, method: str):
    before = fingerprint(case[0])
    with pytest.raises(InvalidInputError, match=r"'head': expected maps .* name a convolutional"):
        cheap_explain(*case, method=method, layer="head")
    assert_untouched(case[0], before)


@pytest.mark.parametrize("method", ASKING)
def test_a_model_that_returns_a_tuple_is_refused_with_the_remedy(method: str):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = own_network()

        def forward(self, images):
            return self.body(images), images

    model, images = Pair(), torch.rand(2, 3, 16, 16)
    layer = {"layer": "body.1"} if method in WITH_LAYER else {}
    before = fingerprint(model)
    with pytest.raises(InvalidInputError, match=r"got tuple; wrap it in a function"):
        cheap_explain(model, images, torch.tensor([0, 3]), method=method, **layer)
    assert_untouched(model, before)


def test_an_unknown_method_names_the_nearest(case):
    with pytest.raises(UnknownNameError, match="did you mean 'grad_cam'"):
        explain(*case, method="grad_cm")


def test_targets_below_zero_are_refused(case):
    model, images, targets = case
    with pytest.raises(InvalidInputError, match="targets: expected classes"):
        explain(model, images, targets - 1, method="grad_cam")
