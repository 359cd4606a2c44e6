"""The text encoder of CLIP ViT-B/32, used in the paper.

The weights are read from the folder named by the environment variable LICO_BENCH_CLIP, else from
the snapshot in the Hugging Face cache. Nothing is downloaded. Only safetensors is read, which
unlike a pickle cannot run code.
Source: Radford et al., ICML 2021; prompts after Zhou et al., IJCV 2022 (CoOp).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.models.encoders import (
    ENCODERS,
    EncoderEntry,
    EncoderIdentity,
    PromptLayout,
    TextEncoder,
)
from lico_bench.models.weight_files import checksum, read_tensors

NAME = "clip_vit_b32"
MODEL = "openai/clip-vit-base-patch32"
VARIABLE = "LICO_BENCH_CLIP"
WEIGHTS = "model.safetensors"
PARTS = ("text_model.", "text_projection.")  # the file may contain the image encoder as well
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
WORD_END = "</w>"
PADDING = 0  # as in the published tokeniser; the causal mask hides it from all tokens
REMEDY = "copy it there again"
SAVE = (
    f"save CLIPModel and CLIPTokenizer of {MODEL} to a folder with transformers' save_pretrained "
    f"and set {VARIABLE} to it"
)


class ClipText(TextEncoder):
    """Frozen CLIP text encoder; its input is start, context and class name, full stop, end.

    The vector of a token is its last hidden state after the final layer norm, times the text
    projection. The pooled vector is that of the end-of-text token. A word with an incomplete
    character is shown with �.

    Args:
        class_names: text of each class, in index order.

    Raises:
        MissingDataError: if the weights are not found.
        BrokenFileError: if a file is damaged or does not match the others.
        InvalidInputError: if a class name has no token, or too many.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        from tokenizers.decoders import ByteLevel

        folder, identity = find_weights(), identify()
        model = _load_model(folder)
        config = model.config
        tokenizer = _load_tokenizer(folder, config.vocab_size)
        opening = [tokenizer.bos_token_id]
        closing = [*_tokens(tokenizer, "."), tokenizer.eos_token_id]
        special = set(tokenizer.all_special_ids)
        decode = ByteLevel().decode  # the vocabulary represents bytes by printable characters
        super().__init__(
            identity,
            [(name, _tokens(tokenizer, name)) for name in class_names],
            opening=opening,
            closing=closing,
            padding=PADDING,
            context_width=config.hidden_size,
            width=config.projection_dim,
            max_tokens=config.max_position_embeddings - len(opening) - len(closing),
            words={
                number: decode([token.removesuffix(WORD_END)])
                for token, number in tokenizer.get_vocab().items()
                if number not in special
            },
        )
        self.model = model
        self.requires_grad_(False).eval()

    def embeddings(self) -> Tensor:
        """See `TextEncoder.embeddings`."""
        weight: Tensor = self.model.text_model.embeddings.token_embedding.weight
        return weight

    def hidden_states(self, prompts: PromptLayout, context: Tensor) -> Tensor:
        """See `TextEncoder.hidden_states`."""
        # The library's model accepts only ids: a hook inserts the context into their embeddings.
        hook = self.model.text_model.embeddings.token_embedding.register_forward_hook(
            lambda _module, _inputs, embedded: prompts.insert(embedded, context)
        )
        with hook:
            hidden = self.model.text_model(input_ids=prompts.ids).last_hidden_state
        projected: Tensor = self.model.text_projection(hidden)
        return projected

    def pool(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Return the vectors (K, D_text) at the last closing token."""
        return hidden[torch.arange(len(hidden), device=hidden.device), attended.sum(1) - 1]


def find_weights() -> Path:
    """Return the folder with `config.json`, `model.safetensors` and the tokeniser's files.

    Raises:
        MissingDataError: if there is none, or a file is missing in it.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named).expanduser() if named else _cached_snapshot()
    if folder is None:
        raise MissingDataError(
            f"text encoder {NAME}: no weights in {VARIABLE} or the Hugging Face cache; {SAVE}"
        )
    if not folder.is_dir():
        raise MissingDataError(f"{VARIABLE}: expected a folder, got {folder}; {SAVE}")
    has_tokenizer = any(
        all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES
    )
    missing = [name for name in ("config.json", WEIGHTS) if not (folder / name).is_file()]
    if not has_tokenizer:
        missing.append(" or ".join(" and ".join(names) for names in TOKENIZER_FILES))
    if WEIGHTS in missing and (folder / "pytorch_model.bin").is_file():
        raise MissingDataError(
            f"{folder}: expected {WEIGHTS}, got pytorch_model.bin, which is not read because a "
            f"pickle can run code; {SAVE}"
        )
    if missing:
        raise MissingDataError(f"{folder}: {', '.join(missing)} not found; {SAVE}")
    return folder


def identify() -> EncoderIdentity:
    """Return name, revision (snapshot commit or folder name) and checksum of the weights."""
    folder = find_weights().absolute()
    revision = folder.name
    if folder.parent.name == "snapshots":
        repository = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
        revision = f"{repository} {folder.name}"
    return EncoderIdentity(NAME, revision, checksum(folder / WEIGHTS))


def _cached_snapshot() -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(MODEL, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _load_model(folder: Path) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection  # takes seconds to import

    path = folder / WEIGHTS
    tensors = read_tensors(path, prefixes=PARTS, remedy=REMEDY)
    try:
        # Eager attention is faster for few short prompts, as for MiniLM.
        config = CLIPTextConfig.from_pretrained(folder, attn_implementation="eager")
        projection = tensors.get("text_projection.weight")
        if projection is not None:
            # The text configuration of a complete CLIP model may not contain the projection size.
            config.projection_dim = len(projection)
        with torch.random.fork_rng(devices=[]):  # the library draws initial weights
            model = CLIPTextModelWithProjection(config)
    except Exception as error:  # the exception type depends on the library version
        raise BrokenFileError(
            f"{folder / 'config.json'}: expected a CLIP configuration, got {error}; {REMEDY}"
        ) from error
    for name, expected in model.state_dict().items():
        if name not in tensors:
            raise BrokenFileError(f"{path}: expected a tensor {name}, got none; {REMEDY}")
        if tensors[name].shape != expected.shape:
            raise BrokenFileError(
                f"{path}: {name}: expected {tuple(expected.shape)}, "
                f"got {tuple(tensors[name].shape)}; {REMEDY}"
            )
    model.load_state_dict(tensors, strict=False)  # additional tensors are ignored
    return model


def _load_tokenizer(folder: Path, vocab_size: int) -> Any:
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise BrokenFileError(
            f"{folder}: expected the files of a CLIP tokeniser, got {error}; {REMEDY}"
        ) from error
    if len(tokenizer) > vocab_size:
        raise BrokenFileError(
            f"{folder}: expected a tokeniser of at most {vocab_size} tokens, the vocabulary size "
            f"of the weights, got {len(tokenizer)}; {REMEDY}"
        )
    return tokenizer


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


ENCODERS.add(
    NAME,
    EncoderEntry(
        title="CLIP ViT-B/32 text tower",
        source="Radford et al., ICML 2021",
        build=ClipText,
        identify=identify,
    ),
)
