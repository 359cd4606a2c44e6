"""Frozen text encoders behind one protocol: context and class ids in, one vector per token out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from lico_bench.registry import Registry


class TokenVectors(NamedTuple):
    """Text features of K prompts, padded to the longest.

    Attributes:
        vectors: (K, T, D_text), in reading order; what the encoder gives at padded positions.
        mask: (K, T) bool, True at a token; padding is at the end of a row.
        whole: (K, D_text), the encoder's one vector of the whole prompt.
    """

    vectors: Tensor
    mask: Tensor
    whole: Tensor


@dataclass(frozen=True)
class EncoderIdentity:
    """Which weights a text encoder has; goes into every manifest."""

    name: str
    revision: str
    sha256: str


class TextEncoder(Protocol):
    """A frozen encoder of prompts of context tokens and class-name tokens.

    No parameter asks for a gradient and nothing drops out, also in training mode. The parameters
    of a copy may be set to ask for one: `encode` lets gradients through to them.

    Attributes:
        identity: name, revision and checksum of the weights.
        context_width: size of one learnable context token.
        width: size of one output vector, D_text.
        max_tokens: most tokens of context and class name together.
        longest_name: tokens of the longest class name.
    """

    identity: EncoderIdentity
    context_width: int
    width: int
    max_tokens: int
    longest_name: int

    def encode(self, context: Tensor, class_ids: Tensor, *, position: str = "end") -> TokenVectors:
        """Vectors of the prompt tokens of each asked class.

        Args:
            context: (M, context_width) learnable tokens, shared, or (K, M, context_width), row k
                for class_ids[k]; in the order they are read, before their position is added.
                M may be 0.
            class_ids: (K,) int64.
            position: of the class name: `end`, after the context; `middle`, after its first
                M // 2 tokens; `front`, before it.

        Returns:
            T = M + the longest class name among `class_ids`, in tokens; the encoder's special
            tokens are read by it but not returned.

        Raises:
            InvalidInputError: for an unknown position or class, a context of another shape, or a
                prompt longer than `max_tokens`.
        """
        ...

    def nearest_words(self, context: Tensor, *, count: int = 3) -> list[list[tuple[str, float]]]:
        """Of each context token the nearest words of the vocabulary and their cosines.

        Args:
            context: (M, context_width).

        Returns:
            M lists of `count` words, nearest first, by cosine in the table of input embeddings,
            special and unused tokens left out; M empty lists without a vocabulary.

        Raises:
            InvalidInputError: for a context of another shape or a count below 1.
        """
        ...


@dataclass(frozen=True)
class EncoderEntry:
    """How to build an encoder.

    Attributes:
        title, source: for tables and lists.
        build: from the class names in index order to a module that is a `TextEncoder`.
        identify: which weights it would load; finds and hashes the file, builds no model.
    """

    title: str
    source: str
    build: Callable[[Sequence[str]], nn.Module]
    identify: Callable[[], EncoderIdentity]


ENCODERS: Registry[EncoderEntry] = Registry("text encoder", __name__)
