"""A user's model: found by name, filled safely, normalised without a change to its layers."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lico_bench.errors import BrokenFileError, InvalidInputError, LicoBenchError
from lico_bench.models.user_model import load_user_model, suggest_layer, try_model
from lico_bench.models.user_options import IMAGENET_STD
from lico_bench.models.weight_files import weights_digest
from lico_bench.records import IMAGENET_MEAN
from lico_bench.saliency import explain

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))

class Wide(Net):
    def __init__(self, width):
        super().__init__()

class Pair(Net):
    def forward(self, images):
        return super().forward(images), images

class Dictionary(Net):
    def forward(self, images):
        return {"out": super().forward(images)}

class Maps(Net):
    def forward(self, images):
        return self.conv(images)

class Broken(Net):
    def forward(self, images):
        return self.head(images.flatten(1))

class One(Net):
    def __init__(self):
        super().__init__(1)

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))

def build():
    return Net()

def fails():
    raise RuntimeError("no such wheel")

def tells():
    return "a network"

instance = Net()
number = 3
"""


@pytest.fixture
def net() -> str:
    Path("net.py").write_text(NET, encoding="utf-8")
    return "net.py"


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


# safetensors holds no nested dictionaries.
@pytest.mark.parametrize(
    ("suffix", "wrap"),
    [("pt", w) for w in ("plain", "state_dict", "model", "module.", "_orig_mod.")]
    + [("safetensors", w) for w in ("plain", "module.", "_orig_mod.")],
)
def test_weights_are_read_in_every_common_form(net: str, suffix: str, wrap: str):
    trained = load_user_model(f"{net}:build").network
    with torch.no_grad():
        trained.head.bias.fill_(2.5)
    state = dict(trained.state_dict())
    if wrap.endswith("."):
        state = {wrap + name: value for name, value in state.items()}
    path = Path(f"weights.{suffix}")
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save({wrap: state, "epoch": 3} if wrap in ("state_dict", "model") else state, path)
    model = load_user_model(f"{net}:build", weights=path)
    assert model.digest == weights_digest(trained)
    assert torch.equal(model.network.head.bias, torch.full((3,), 2.5))
    assert any("prefix" in note for note in model.notes) == wrap.endswith(".")


class _Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("content", [_Bomb(), {"weight": _Bomb()}, nn.Linear(2, 2)])
def test_a_pickle_of_anything_else_is_refused_and_nothing_of_it_is_executed(net: str, content):
    torch.save(content, "evil.pt")
    with pytest.raises(BrokenFileError, match="its code was not executed"):
        load_user_model(f"{net}:build", weights=Path("evil.pt"))
    assert not Path("exploded").exists()


def _other(net_state: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    state = dict(net_state)
    if kind == "missing":
        del state["head.bias"]
    elif kind == "unexpected":
        state["tail.weight"] = torch.zeros(2)
    elif kind == "shape":
        state["head.weight"] = torch.zeros(5, 4)
    else:
        state["head.weight"] = torch.full_like(state["head.weight"], torch.nan)
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "missing: head.bias"),
        ("unexpected", "unexpected: tail.weight"),
        ("shape", r"head.weight is \(5, 4\) instead of \(3, 4\)"),
        ("nan", "'head.weight' holds NaN"),
    ],
)
def test_weights_of_another_model_are_told_by_name(net: str, kind: str, message: str):
    torch.save(_other(load_user_model(f"{net}:build").network.state_dict(), kind), "other.pt")
    with pytest.raises(LicoBenchError, match=message):
        load_user_model(f"{net}:build", weights=Path("other.pt"))


@pytest.mark.parametrize("name", ["torn.pt", "torn.safetensors", "empty.pt", "list.pt"])
def test_files_that_are_no_weights_are_named(net: str, name: str):
    Path(name).write_bytes(b"" if name == "empty.pt" else b"no weights at all")
    if name == "list.pt":
        torch.save([1, 2], name)
    with pytest.raises(BrokenFileError, match=name):
        load_user_model(f"{net}:build", weights=Path(name))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("net.py", "expected package.module:name"),
        ("net.py:", "expected package.module:name"),
        ("gone.py:build", "no such file: gone.py"),
        ("no_such_package.nets:build", "no module 'no_such_package.nets'"),
        ("net.py:biuld", "did you mean 'build'"),
        ("net.py:Wide", r"needs arguments \(width\)"),
        ("net.py:number", "expected a function without arguments"),
        ("net.py:fails", r"RuntimeError: no such wheel \(net.py, line 46\)"),
        ("net.py:tells", "expected a torch.nn.Module from it, got str"),
        ("syntax.py:build", "importing .*syntax.py failed: SyntaxError"),
        ("needs.py:build", "ModuleNotFoundError: No module named 'a_missing_one'"),
        ("leaves.py:build", "SystemExit"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_sentence(net: str, reference: str, message: str):
    Path("syntax.py").write_text("def build(:\n", encoding="utf-8")
    Path("needs.py").write_text("import a_missing_one\n", encoding="utf-8")
    Path("leaves.py").write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(LicoBenchError, match=message) as caught:
        load_user_model(reference)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("text", ["image", "0.5/0.5", "1,2,3", "a,b,c/1,1,1", "0,0,0/1,0,1"])
def test_a_normalisation_that_is_none_is_refused(net: str, text: str):
    with pytest.raises(InvalidInputError, match="--normalise"):
        load_user_model(f"{net}:build", normalise=text)
