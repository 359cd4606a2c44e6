"""Frozen text encoders behind one protocol: context and class ids in, one vector per token out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from lico_bench.registry import Registry


class TokenVectors(NamedTuple):
    """Text features of K prompts, padded to the longest.

    `vectors` are (K, T, D_text); `mask` is (K, T) bool, True where there is a token.
    """

    vectors: Tensor
    mask: Tensor


@dataclass(frozen=True)
class EncoderIdentity:
    """Which weights a text encoder has; goes into every manifest."""

    name: str
    revision: str
    sha256: str


class TextEncoder(Protocol):
    """A frozen encoder of prompts `context tokens, class-name tokens`.

    Attributes:
        identity: name, revision and checksum of the weights.
        context_width: size of one learnable context token.
        width: size of one output vector, D_text.
    """

    identity: EncoderIdentity
    context_width: int
    width: int

    def encode(self, context: Tensor, class_ids: Tensor) -> TokenVectors:
        """Vectors of the prompt tokens of each class; gradients reach `context` alone.

        Args:
            context: (M, context_width) learnable tokens, in the order they are read.
            class_ids: (K,) int64.

        Returns:
            T = M + the longest class name among `class_ids`, in tokens; the encoder's special
            tokens are read by it but not returned.
        """
        ...


@dataclass(frozen=True)
class EncoderEntry:
    """How to build an encoder.

    Attributes:
        build: from the class names in index order to a module that is a `TextEncoder`.
        identify: which weights it would load, without loading them.
    """

    title: str
    source: str
    build: Callable[[Sequence[str]], nn.Module]
    identify: Callable[[], EncoderIdentity]


ENCODERS: Registry[EncoderEntry] = Registry("text encoder", __name__)
