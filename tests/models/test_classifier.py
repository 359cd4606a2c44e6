"""Every backbone as a classifier, and weights on disk."""

from __future__ import annotations

import pytest
import torch

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models import BACKBONES, dump_weights, logits_of
from tests.models.small_classifier import STATISTICS, build


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_keeps_the_contract(backbone: str):
    classifier = build(backbone)
    output = classifier(torch.rand(2, 3, 64, 64))
    assert output.logits.shape == (2, 5)
    assert output.features.shape[:2] == (2, BACKBONES[backbone].channels)
    assert classifier.explanation_layer in dict(classifier.named_modules())
    pooled = output.features.mean(2)
    assert torch.allclose(classifier.head(pooled), output.logits, atol=1e-5)


def test_weights_depend_on_the_seed_alone():
    before = torch.random.get_rng_state()
    first = build(seed=1)
    torch.rand(7)
    again, other = build(seed=1), build(seed=2)
    assert dump_weights(first) == dump_weights(again)
    assert dump_weights(first) != dump_weights(other)
    torch.random.set_rng_state(before)
    build(seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_images_are_normalised_inside():
    classifier = build()
    seen = []
    classifier.features.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = torch.tensor(STATISTICS["mean"]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    classifier(images)
    classifier(images + torch.tensor(STATISTICS["std"]).view(1, 3, 1, 1))
    assert torch.allclose(seen[0], torch.zeros(1, 3, 8, 8), atol=1e-6)
    assert torch.allclose(seen[1], torch.ones(1, 3, 8, 8), atol=1e-6)


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'wrn_28_2'"):
        build("wrn_282")


def test_what_is_no_logits_is_refused():
    with pytest.raises(InvalidInputError, match="got tuple"):
        logits_of((torch.zeros(2, 3),))
    with pytest.raises(InvalidInputError, match="got \\(2, 3, 4\\)"):
        logits_of(torch.zeros(2, 3, 4))
