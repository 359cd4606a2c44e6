"""A tiny CLIP with random weights and a real byte-pair tokeniser, and a user's networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection

from tests.models.user_net import NET

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,-'"
MERGES = (
    "i r", "b ir", "bir d</w>",  # bird: one token
    "o f</w>",
    "p h", "ph o", "pho t", "phot o</w>",
    "s t", "st o", "sto p</w>",  # stop: one token; "sto" alone begins other words
    "s i", "si g", "sig n</w>",
)  # fmt: skip
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
EMOJI = "ðŁĺĤ</w>"  # one character of four bytes, as byte-level vocabularies write it


def write_tokenizer(folder: Path) -> int:
    """Write vocab.json and merges.txt as the published ones are built; the vocabulary's size."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    tokens += ["".join(merge.split(" ")) for merge in MERGES]
    tokens += [EMOJI, *SPECIAL]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
    return len(tokens)


def text_settings(vocab_size: int) -> dict[str, int]:
    """Widths that all differ, so that a mix-up shows; the end's number as published."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": 16,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def write_text_tower(folder: Path, **changes: int) -> Path:
    """A folder with the text tower alone."""
    settings = text_settings(write_tokenizer(folder)) | {"projection_dim": 12} | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPTextModelWithProjection(CLIPTextConfig(**settings))
        model.apply(_spread)
    model.save_pretrained(folder)
    return folder


def write_whole_clip(folder: Path) -> Path:
    """A folder with text and image tower in one file, as on the hub."""
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    config = CLIPConfig(
        text_config=text_settings(write_tokenizer(folder)),
        vision_config=vision,
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).apply(_spread).save_pretrained(folder)
    return folder


def _spread(module: torch.nn.Module) -> None:
    """Weights large enough for tokens to influence each other visibly."""
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.normal_(module.weight, std=0.3)


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """Writes a text tower into a folder, with other settings where they are named."""
    return write_text_tower


@pytest.fixture(scope="session")
def text_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_tower(tmp_path_factory.mktemp("tiny_clip"))


@pytest.fixture(scope="session")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole_clip(tmp_path_factory.mktemp("tiny_whole_clip"))


@pytest.fixture
def clip_folder(text_tower: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny text tower, where the encoder looks for its weights."""
    monkeypatch.setenv("LICO_BENCH_CLIP", str(text_tower))
    return text_tower


@pytest.fixture
def net() -> str:
    Path("net.py").write_text(NET, encoding="utf-8")
    return "net.py"
