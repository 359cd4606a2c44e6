"""Registry of frozen text encoders: from context and class ids to token vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from torch import Tensor, nn

from lico_bench.registry import Registry

if TYPE_CHECKING:
    from lico_bench.models.encoders.prompts import NameTokens


class TokenVectors(NamedTuple):
    """Text features of K prompts, padded to the longest.

    Attributes:
        vectors: (K, T, D_text), in reading order; values at padding positions are arbitrary.
        mask: (K, T) bool, True at a token; padding is at the end of a row.
        pooled: (K, D_text), the encoder's vector of the complete prompt.
    """

    vectors: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class EncoderIdentity:
    """Name, revision and checksum of a text encoder's weights; stored in every manifest."""

    name: str
    revision: str
    sha256: str


class TextEncoder(nn.Module):
    """A frozen encoder of prompts that consist of context tokens and class-name tokens.

    No parameter requires a gradient and there is no dropout, also in training mode. A caller may
    set `requires_grad` on the parameters of a copy; `encode` propagates gradients to them.

    Attributes:
        identity: name, revision and checksum of the weights.
        context_width: size of one learnable context token.
        width: size of one output vector, D_text.
        max_tokens: maximum number of tokens of context and class name together.
        longest_name: number of tokens of the longest class name.
    """

    def __init__(self, identity: EncoderIdentity, names: NameTokens, *, width: int) -> None:
        super().__init__()
        self.identity = identity
        self.names = names
        self.context_width, self.width = names.context_width, width
        self.max_tokens, self.longest_name = names.max_tokens, names.longest

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a frozen encoder has no dropout."""
        return super().train(False)

    def encode(self, context: Tensor, class_ids: Tensor, *, position: str = "end") -> TokenVectors:
        """Return the vectors of the prompt tokens of each requested class.

        Args:
            context: (M, context_width) learnable tokens, shared, or (K, M, context_width), row k
                for class_ids[k]; in reading order, before position embeddings are added. M may
                be 0.
            class_ids: (K,) int64.
            position: of the class name: `end`, after the context; `middle`, after its first
                M // 2 tokens; `front`, before it.

        Returns:
            `TokenVectors` with T = M + the tokens of the longest name among `class_ids`. The
            encoder's special tokens are encoded but not returned.

        Raises:
            InvalidInputError: for an unknown position or class, a context of another shape, or a
                prompt longer than `max_tokens`.
        """
        raise NotImplementedError

    def nearest_words(self, context: Tensor, *, count: int = 3) -> list[list[tuple[str, float]]]:
        """Return the nearest vocabulary words of each context token and their cosines.

        Args:
            context: (M, context_width).

        Returns:
            M lists of `count` words, nearest first, by cosine in the table of input embeddings,
            without special and unused tokens; M empty lists without a vocabulary.

        Raises:
            InvalidInputError: for a context of another shape or a count below 1.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class EncoderEntry:
    """Registry entry of an encoder.

    Attributes:
        title, source: for tables and lists.
        build: from the class names in index order to an encoder.
        identify: returns the identity of the weights without building the model.
    """

    title: str
    source: str
    build: Callable[[Sequence[str]], TextEncoder]
    identify: Callable[[], EncoderIdentity]


ENCODERS: Registry[EncoderEntry] = Registry("text encoder", __name__)
