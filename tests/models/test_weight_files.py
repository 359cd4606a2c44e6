"""Weights on disk: written and read back, other models' and hostile files refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lico_bench.errors import BrokenFileError, LicoBenchError
from lico_bench.models import dump_weights, load_weights
from lico_bench.models.user_model import load_user_model
from lico_bench.models.weight_files import weights_digest
from tests.models.small_classifier import build


def test_weights_survive_a_file(tmp_path):
    source, target = build(seed=1), build(seed=2)
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump_weights(source))
    load_weights(target, path)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(images).logits, target(images).logits)


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_torn_file_is_named(tmp_path, keep: int):
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump_weights(build())[:keep])
    with pytest.raises(BrokenFileError, match="delete the file to train again"):
        load_weights(build(), path)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump_weights(build("wrn_10_2")))
    with pytest.raises(BrokenFileError, match="not the weights of this model"):
        load_weights(build("wrn_10_1"), path)


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
