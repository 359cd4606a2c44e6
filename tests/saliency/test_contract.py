"""What every registered method promises; a new one is tested on the day it appears."""

from __future__ import annotations

import pytest
import torch

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import build_classifier
from lico_bench.saliency import SALIENCY, explain

ATOL_BATCH = 1e-5  # a batch of one may take another kernel


@pytest.fixture(scope="module")
def case():
    classifier = build_classifier(
        "wrn_10_1", num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).train()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return classifier, images, torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("method", SALIENCY)
def test_shape_type_and_finiteness(case, method: str):
    maps = explain(*case, method=method)
    assert maps.shape == (4, 32, 32)
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert not maps.requires_grad


@pytest.mark.parametrize("method", SALIENCY)
def test_the_same_call_gives_the_same_maps(case, method: str):
    assert torch.equal(explain(*case, method=method), explain(*case, method=method))


@pytest.mark.parametrize("method", SALIENCY)
def test_a_batch_is_its_pictures_one_by_one(case, method: str):
    model, images, targets = case
    whole = explain(model, images, targets, method=method)
    for i in range(4):
        alone = explain(model, images[i : i + 1], targets[i : i + 1], method=method)
        assert torch.allclose(whole[i : i + 1], alone, atol=ATOL_BATCH)


@pytest.mark.parametrize("method", SALIENCY)
def test_the_model_is_left_as_it_was(case, method: str):
    model, images, targets = case
    before = {k: v.clone() for k, v in model.state_dict().items()}
    global_state = torch.random.get_rng_state()
    explain(model, images, targets, method=method)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks and not m._backward_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), global_state)


def test_the_random_control_is_another_for_another_picture(case):
    maps = explain(*case, method="random_map")
    assert not torch.equal(maps[0], maps[1])
    assert abs(float(maps.mean()) - 0.5) < 0.02


def test_the_centre_control_peaks_in_the_middle(case):
    maps = explain(*case, method="center_map")
    assert maps[0].argmax() in (15 * 32 + 15, 15 * 32 + 16, 16 * 32 + 15, 16 * 32 + 16)


def test_the_edge_control_finds_an_edge():
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :, 16:] = 1
    maps = explain(torch.nn.Identity(), images, torch.tensor([0]), method="edge_map")
    assert maps[0].amax(0).nonzero().flatten().tolist() == [15, 16]


def test_an_unknown_method_names_the_nearest(case):
    with pytest.raises(UnknownNameError, match="did you mean 'grad_cam'"):
        explain(*case, method="grad_cm")


def test_targets_below_zero_are_refused(case):
    model, images, targets = case
    with pytest.raises(InvalidInputError, match="targets: expected classes"):
        explain(model, images, targets - 1, method="grad_cam")
