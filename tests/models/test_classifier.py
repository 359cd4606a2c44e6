"""Every backbone as a classifier, and weights on disk."""

from __future__ import annotations

import pytest
import torch

from lico_bench.errors import BrokenFileError, InvalidInputError, UnknownNameError
from lico_bench.models import BACKBONES, build_classifier, dump_weights, load_weights, logits_of

STATISTICS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}


def build(backbone: str = "wrn_10_1", seed: int = 0):
    return build_classifier(backbone, num_classes=5, seed=seed, **STATISTICS).eval()


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


def test_wide_resnet_28_2_has_the_published_size():
    parameters = sum(p.numel() for p in build("wrn_28_2").parameters())
    assert parameters == pytest.approx(1.47e6, rel=0.01)  # 1.5 M in the literature, 10 classes


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


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'wrn_28_2'"):
        build("wrn_282")


def test_what_is_no_logits_is_refused():
    with pytest.raises(InvalidInputError, match="got tuple"):
        logits_of((torch.zeros(2, 3),))
    with pytest.raises(InvalidInputError, match="got \\(2, 3, 4\\)"):
        logits_of(torch.zeros(2, 3, 4))
