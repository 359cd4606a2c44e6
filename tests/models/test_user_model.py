"""A user's model: found by name, filled safely, normalised without a change to its layers."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

from lico_bench.errors import InvalidInputError, LicoBenchError
from lico_bench.models.user_model import load_user_model, suggest_layer, try_model
from lico_bench.models.user_options import IMAGENET_STD
from lico_bench.records import IMAGENET_MEAN
from lico_bench.saliency import explain
from tests.models.user_net import NET


def image(size: int = 16) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["build", "Net", "instance"])
def test_a_function_a_class_and_an_instance_are_models(net: str, name: str):
    model = load_user_model(f"{net}:{name}")
    assert try_model(model, image(), needs_layer=False) == 3
    assert not model.network.training
    assert model.title == f"net_{name}"
    assert any("training mode" in note for note in model.notes)


def test_a_module_in_the_current_folder_can_be_imported_and_leaves_the_path_as_it_was():
    Path("my_own_package").mkdir()
    Path("my_own_package/__init__.py").touch()
    Path("my_own_package/nets.py").write_text(NET, encoding="utf-8")
    before = list(sys.path)
    assert try_model(load_user_model("my_own_package.nets:build"), image(), needs_layer=False) == 3
    assert sys.path == before


def test_the_same_factory_gives_the_same_weights_and_leaves_the_global_draws_alone(net: str):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = load_user_model(f"{net}:build"), load_user_model(f"{net}:build")
    assert torch.equal(torch.rand(1), expected)
    assert first.digest == second.digest
    assert first.network is not second.network


def test_networks_of_torchvision_get_imagenets_normalisation_and_their_own_layer():
    import torchvision

    model = load_user_model("torchvision.models:resnet18")
    assert model.normalisation.name == "imagenet"
    assert model.explained_layer == "layer4"
    plain = copy.deepcopy(model.network)
    plain._forward_pre_hooks.clear()
    images = image(64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert isinstance(plain, torchvision.models.ResNet)
    # The same operations on the same numbers in the same order.
    assert torch.equal(model.network(images), plain((images - mean) / std))


def test_a_normalisation_in_numbers_is_the_one_that_was_told(net: str):
    model = load_user_model(f"{net}:build", normalise="0.5,0.4,0.3/0.25,0.5,1")
    plain = load_user_model(f"{net}:build")
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.5, 1.0])
    by_hand = (image() - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    assert torch.equal(model.network(image()), plain.network(by_hand))


def test_layers_keep_their_names_and_methods_find_the_one_named(net: str):
    model = load_user_model(f"{net}:build", layer="conv", normalise="imagenet")
    assert "conv" in dict(model.network.named_modules())
    maps = explain(model.network, image(), torch.tensor([1]), method="grad_cam")
    by_option = explain(
        load_user_model(f"{net}:build", normalise="imagenet").network,
        image(),
        torch.tensor([1]),
        method="grad_cam",
        layer="conv",
    )
    assert torch.equal(maps, by_option)


def test_the_suggested_layer_is_the_last_convolution_with_maps(net: str):
    model = load_user_model(f"{net}:build")
    assert suggest_layer(model.network, image()) == "conv"
    with pytest.raises(InvalidInputError, match="--layer conv"):
        try_model(model, image(), needs_layer=True)
    assert not model.network.conv._forward_hooks


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pair", r"got tuple; .*network\(images\)\[0\]"),
        ("Dictionary", r"got dict; .*network\(images\)\['out'\]"),
        ("Maps", r"expected logits \(1, K\) for one image, got \(1, 4, 16, 16\)"),
        ("Broken", "its forward fails on an image .*--image-size"),
    ],
)
def test_a_forward_that_gives_no_logits_is_told_with_the_remedy(net: str, name: str, message: str):
    with pytest.raises(InvalidInputError, match=message):
        try_model(load_user_model(f"{net}:{name}"), image(), needs_layer=False)


def test_a_single_logit_is_refused_since_its_softmax_is_always_one(net: str):
    model = load_user_model(f"{net}:One")
    with pytest.raises(InvalidInputError, match=r"two classes or more, got one.*torch\.cat"):
        try_model(model, torch.rand(1, 3, 8, 8), needs_layer=False)


def test_a_lazy_layer_that_was_never_run_is_told(net: str):
    with pytest.raises(InvalidInputError, match="lazy layer has no parameters yet"):
        load_user_model(f"{net}:lazy")


def test_a_layer_that_is_not_there_or_not_convolutional_is_refused(net: str):
    with pytest.raises(LicoBenchError, match="no layer 'conf'; near: conv"):
        load_user_model(f"{net}:build", layer="conf")
    with pytest.raises(InvalidInputError, match="name a convolutional layer"):
        try_model(load_user_model(f"{net}:build", layer="head"), image(), needs_layer=True)
