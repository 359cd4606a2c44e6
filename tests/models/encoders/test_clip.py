"""A tiny CLIP through the code that reads the real weights, against the library's forward."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch
from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPTokenizer

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.models import ENCODERS
from lico_bench.models.encoders import clip

EMOJI = "ðŁĺĤ</w>"  # 😂, its four bytes as byte-level vocabularies write them
NAMES = ("cat", "bird", "stop sign", "red-winged blackbird")
ATOL_ATTENTION = 1e-5  # the mask is written in another way
PROMPTS = {"end": "a photo of a {}.", "middle": "a photo {} of a.", "front": "{} a photo of a."}


def build(folder, monkeypatch, names=NAMES):
    monkeypatch.setenv("LICO_BENCH_CLIP", str(folder))
    return ENCODERS["clip_vit_b32"].build(names)


def copy_of(folder, target):
    return shutil.copytree(folder, target)


def change_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    path.unlink()
    safetensors.torch.save_file(tensors, path)


@pytest.mark.parametrize("position", PROMPTS)
def test_hard_prompts_agree_with_the_librarys_forward(text_tower, monkeypatch, position):
    encoder = build(text_tower, monkeypatch)
    tokenizer = CLIPTokenizer.from_pretrained(text_tower)
    model = CLIPTextModelWithProjection.from_pretrained(text_tower).eval()
    words = tokenizer("a photo of a", add_special_tokens=False)["input_ids"]
    context = model.text_model.embeddings.token_embedding.weight[words].detach()
    tokens = encoder.encode(context, torch.arange(len(NAMES)), position=position)
    assert encoder.width == 12
    for row, name in enumerate(NAMES):
        encoded = tokenizer(PROMPTS[position].format(name), return_tensors="pt")
        with torch.no_grad():
            output = model(**encoded)
            expected = model.text_projection(output.last_hidden_state[0])
        num_tokens = encoded["input_ids"].shape[1] - 3  # start, full stop, end
        assert int(tokens.mask[row].sum()) == num_tokens
        read = tokens.vectors[row, :num_tokens]
        assert torch.allclose(read, expected[1 : 1 + num_tokens], atol=ATOL_ATTENTION)
        assert torch.allclose(tokens.pooled[row], output.text_embeds[0], atol=ATOL_ATTENTION)


def test_padded_positions_hold_what_clip_gives_after_a_shorter_name(text_tower, monkeypatch):
    encoder = build(text_tower, monkeypatch)
    tokens = encoder.encode(torch.zeros(0, 16), torch.tensor([1, 3]))
    tokenizer = CLIPTokenizer.from_pretrained(text_tower)
    model = CLIPTextModelWithProjection.from_pretrained(text_tower).eval()
    ids = tokenizer("bird.", return_tensors="pt")["input_ids"]
    assert ids.shape[1] == 4  # start, bird, full stop, end
    longest = tokens.mask.shape[1]
    padded = torch.cat([ids, torch.zeros(1, longest - 1, dtype=torch.int64)], 1)
    with torch.no_grad():
        hidden = model.text_model(input_ids=padded).last_hidden_state
        expected = model.text_projection(hidden)[0, 1 : 1 + longest]
    assert tokens.mask[0].sum() == 1
    assert torch.allclose(tokens.vectors[0], expected, atol=ATOL_ATTENTION)


def test_a_file_of_the_whole_clip_is_read_without_its_image_tower(whole_clip, monkeypatch):
    encoder = build(whole_clip, monkeypatch)
    assert not any("vision" in name for name, _ in encoder.named_parameters())
    tokens = encoder.encode(torch.zeros(0, 16), torch.arange(len(NAMES)))
    tokenizer = CLIPTokenizer.from_pretrained(whole_clip)
    model = CLIPModel.from_pretrained(whole_clip).eval()
    for row, name in enumerate(NAMES):
        ids = tokenizer(f"{name}.", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model.text_model(input_ids=ids).last_hidden_state[0]
            expected = model.text_projection(hidden[-1])
        assert torch.allclose(tokens.pooled[row], expected, atol=ATOL_ATTENTION)


def test_nothing_stays_hooked_after_an_error(clip_folder):
    encoder = ENCODERS["clip_vit_b32"].build(NAMES)
    encoder.model.text_model.encoder.layers[0].mlp = None
    with pytest.raises(TypeError):
        encoder.encode(torch.zeros(2, 16), torch.tensor([0]))
    assert not encoder.model.text_model.embeddings.token_embedding._forward_hooks


def test_words_are_shown_without_their_end_mark(clip_folder):
    encoder = ENCODERS["clip_vit_b32"].build(NAMES)
    vocabulary = CLIPTokenizer.from_pretrained(clip_folder).get_vocab()
    table = encoder.model.text_model.embeddings.token_embedding.weight
    requested = [vocabulary[word] for word in ("bird</w>", "sto", EMOJI, "<|endoftext|>")]
    nearest = encoder.nearest_words(table[requested], count=len(vocabulary))
    assert [row[0][0] for row in nearest[:3]] == ["bird", "sto", "😂"]
    assert nearest[0][0][1] == pytest.approx(1, abs=1e-5)
    assert len(nearest[3]) == len(vocabulary) - 2  # all but start and end
    assert not any("<|" in word for word, _ in nearest[3])


def test_identity_names_the_folder_and_hashes_the_file_that_was_read(text_tower, monkeypatch):
    encoder = build(text_tower, monkeypatch)
    path = text_tower / "model.safetensors"
    assert encoder.identity.revision == text_tower.name
    assert encoder.identity.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_checksum_follows_a_changed_file(text_tower, tmp_path, monkeypatch):
    folder = copy_of(text_tower, tmp_path / "clip")
    monkeypatch.setenv("LICO_BENCH_CLIP", str(folder))
    before = clip.identify()
    change_tensors(folder, lambda tensors: tensors["text_projection.weight"].zero_())
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert clip.identify().sha256 != before.sha256


def test_identifying_reads_no_model(text_tower, tmp_path, monkeypatch):
    folder = copy_of(text_tower, tmp_path / "clip")
    (folder / "model.safetensors").write_bytes(b"a torn file has a checksum too")
    monkeypatch.setenv("LICO_BENCH_CLIP", str(folder))
    assert len(clip.identify().sha256) == 64


def test_the_snapshot_in_the_hub_cache_is_found_without_the_network(
    text_tower, tmp_path, monkeypatch
):
    requested = []

    def refuse(*address, **_):
        requested.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("LICO_BENCH_CLIP", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDataError, match="no weights in LICO_BENCH_CLIP or the Hugging Face"):
        ENCODERS["clip_vit_b32"].build(NAMES)
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--openai--clip-vit-base-patch32"
    copy_of(text_tower, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    encoder = ENCODERS["clip_vit_b32"].build(NAMES)
    assert encoder.identity.revision == f"openai/clip-vit-base-patch32 {commit}"
    assert not requested


def test_a_folder_made_as_the_remedy_says_is_read(whole_clip, tmp_path, monkeypatch):
    CLIPModel.from_pretrained(whole_clip).save_pretrained(tmp_path)
    CLIPTokenizer.from_pretrained(whole_clip).save_pretrained(tmp_path)
    context, classes = torch.zeros(2, 16), torch.arange(len(NAMES))
    made = build(tmp_path, monkeypatch).encode(context, classes)
    expected = build(whole_clip, monkeypatch).encode(context, classes)
    assert torch.equal(made.vectors, expected.vectors)
    assert torch.equal(made.pooled, expected.pooled)


def test_a_missing_folder_or_file_is_named_with_the_remedy(text_tower, tmp_path, monkeypatch):
    remedy = "save_pretrained and set LICO_BENCH_CLIP to it"
    with pytest.raises(MissingDataError, match=f"expected a folder, got .*nowhere; .*{remedy}"):
        build(tmp_path / "nowhere", monkeypatch)
    for name in ("config.json", "model.safetensors", "merges.txt"):
        folder = copy_of(text_tower, tmp_path / f"without_{name}")
        (folder / name).unlink()
        with pytest.raises(MissingDataError, match=rf"{name}.* not found; .*{remedy}"):
            build(folder, monkeypatch)


def test_a_pickle_is_not_read(text_tower, tmp_path, monkeypatch):
    folder = copy_of(text_tower, tmp_path / "clip")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MissingDataError, match="a pickle can run code; save CLIPModel"):
        build(folder, monkeypatch)


def test_a_torn_file_is_named(text_tower, tmp_path, monkeypatch):
    folder = copy_of(text_tower, tmp_path / "clip")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BrokenFileError, match=r"model\.safetensors: expected safetensors.*again"):
        build(folder, monkeypatch)


def test_tensors_of_a_wrong_shape_or_missing_are_named(text_tower, tmp_path, monkeypatch):
    name = "text_model.final_layer_norm.weight"
    wrong = copy_of(text_tower, tmp_path / "wrong")
    change_tensors(wrong, lambda tensors: tensors.update({name: torch.ones(17)}))
    with pytest.raises(BrokenFileError, match=rf"{name}: expected \(16,\), got \(17,\); copy"):
        build(wrong, monkeypatch)
    missing = copy_of(text_tower, tmp_path / "missing")
    change_tensors(missing, lambda tensors: tensors.pop(name))
    with pytest.raises(BrokenFileError, match=f"expected a tensor {name}, got none"):
        build(missing, monkeypatch)


def test_a_broken_configuration_or_tokeniser_is_named(text_tower, tmp_path, monkeypatch):
    config = copy_of(text_tower, tmp_path / "config")
    (config / "config.json").write_text("{")
    with pytest.raises(BrokenFileError, match=r"config\.json: expected a CLIP configuration"):
        build(config, monkeypatch)
    heads = copy_of(text_tower, tmp_path / "heads")
    text = (heads / "config.json").read_text()
    (heads / "config.json").write_text(
        text.replace('"num_attention_heads": 2', '"num_attention_heads": 3')
    )
    with pytest.raises(BrokenFileError, match=r"config\.json: expected a CLIP configuration"):
        build(heads, monkeypatch)
    words = copy_of(text_tower, tmp_path / "words")
    (words / "vocab.json").write_text("{")
    with pytest.raises(BrokenFileError, match="expected the files of a CLIP tokeniser"):
        build(words, monkeypatch)


def test_a_tokeniser_of_another_model_is_refused(write_clip, tmp_path, monkeypatch):
    folder = write_clip(tmp_path, vocab_size=50)
    with pytest.raises(BrokenFileError, match="expected a tokeniser of at most 50 tokens"):
        build(folder, monkeypatch)


def test_the_longest_name_that_fits_is_read_and_a_longer_one_is_named(clip_folder):
    num_tokens = 24 - 3  # the tiny tower's positions without start, full stop, end
    encoder = ENCODERS["clip_vit_b32"].build(("x " * num_tokens, "bird"))
    assert encoder.longest_name == encoder.max_tokens == num_tokens
    assert encoder.encode(torch.zeros(0, 16), torch.tensor([0])).mask.sum() == num_tokens
    with pytest.raises(InvalidInputError, match=f"'x x .*expected 1 to {num_tokens} tokens"):
        ENCODERS["clip_vit_b32"].build(("bird", "x " * (num_tokens + 1)))
