"""Registry of frozen text encoders and their base class: from class names to token vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError
from lico_bench.registry import Registry

POSITIONS = ("end", "middle", "front")


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


class PromptLayout(NamedTuple):
    """K prompts of L input positions: `opening, context and class name, closing, padding`.

    Attributes:
        ids: (K, L) token ids; values at `context_at` are unused.
        context_at: (K, M) positions of the context tokens.
        attended: (K, L) bool, True up to the last closing token.
        mask: (K, T) bool, True at a token of the context or the name.
    """

    ids: Tensor
    context_at: Tensor
    attended: Tensor
    mask: Tensor

    def insert(self, embedded: Tensor, context: Tensor) -> Tensor:
        """Return `embedded` ids (K, L, W) with context (M, W) or (K, M, W) at its positions."""
        if not self.context_at.shape[1]:
            return embedded
        rows = torch.arange(len(embedded), device=embedded.device)[:, None]
        return embedded.index_put((rows, self.context_at), context.to(embedded.dtype))


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
    A subclass defines `embeddings` and `hidden_states`.

    Args:
        identity: name, revision and checksum of the weights.
        names: token ids of each class name, by its text, in index order.
        opening, closing: ids at the start and end of every prompt.
        padding: id of the positions after a prompt.
        context_width: size of one learnable context token.
        width: size of one output vector, D_text.
        max_tokens: maximum number of tokens of context and class name together.
        words: readable tokens of the vocabulary by id.

    Attributes:
        longest_name: number of tokens of the longest class name.

    Raises:
        InvalidInputError: without a class, or for a name without tokens or with too many.
    """

    _ids: Tensor
    _lengths: Tensor
    _closing: Tensor

    def __init__(
        self,
        identity: EncoderIdentity,
        names: Sequence[tuple[str, Sequence[int]]],
        *,
        opening: Sequence[int] = (),
        closing: Sequence[int] = (),
        padding: int,
        context_width: int,
        width: int,
        max_tokens: int,
        words: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        if not names:
            raise InvalidInputError("class_names: expected at least one, got none")
        for name, ids in names:
            if not 0 < len(ids) <= max_tokens:
                raise InvalidInputError(
                    f"class name '{name}': expected 1 to {max_tokens} tokens, got {len(ids)}; "
                    "change it in the dataset's card"
                )
        self.identity = identity
        self.context_width, self.width, self.max_tokens = context_width, width, max_tokens
        lengths = [len(ids) for _, ids in names]
        self.longest_name = max(lengths)
        self._names, self._opening, self._padding = [n for n, _ in names], opening, padding
        self._words = dict(sorted((words or {}).items()))
        padded = [[*ids, *[padding] * (self.longest_name - len(ids))] for _, ids in names]
        for buffer, values in (("_ids", padded), ("_lengths", lengths), ("_closing", [*closing])):
            self.register_buffer(buffer, torch.tensor(values, dtype=torch.int64), persistent=False)

    def embeddings(self) -> Tensor:
        """Return the table (V, context_width) of input embeddings."""
        raise NotImplementedError

    def hidden_states(self, prompts: PromptLayout, context: Tensor) -> Tensor:
        """Return the output (K, L, D_text) at every position of the prompts."""
        raise NotImplementedError

    def pool(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Return the vector (K, D_text) of each prompt: the mean over its attended positions."""
        return (hidden * attended[:, :, None]).sum(1) / attended[:, :, None].sum(1)

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
        prompts = self.arrange(context, class_ids, position)
        hidden = self.hidden_states(prompts, context)
        first = len(self._opening)
        vectors = hidden[:, first : first + prompts.mask.shape[1]]
        return TokenVectors(vectors, prompts.mask, self.pool(hidden, prompts.attended))

    @torch.no_grad()
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
        if context.ndim != 2 or context.shape[1] != self.context_width:
            raise InvalidInputError(
                f"context: expected (M, {self.context_width}), the tokens of one prompt, got "
                f"{tuple(context.shape)}"
            )
        check_count("count", count)
        texts, table = list(self._words.values()), self.embeddings()
        ids = torch.tensor([*self._words], dtype=torch.int64, device=table.device)
        rows = F.normalize(table[ids].float(), dim=1)
        cosines = F.normalize(context.to(rows.device).float(), dim=1) @ rows.T
        values, indices = cosines.topk(min(count, len(texts)), dim=1)
        return [
            [(texts[index], value) for index, value in zip(*row, strict=True)]
            for row in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    def arrange(self, context: Tensor, class_ids: Tensor, position: str) -> PromptLayout:
        """Return the prompt layout for the arguments of `encode`; raises as it does."""
        check_choice("position", position, POSITIONS)
        self._check_classes(class_ids)
        self._check_context(context, len(class_ids))
        num_context = context.shape[-2]
        lengths = self._lengths[class_ids, None]
        longest = int(lengths.max())
        if num_context + longest > self.max_tokens:
            name = self._names[int(class_ids[lengths[:, 0].argmax()])]
            raise InvalidInputError(
                f"class name '{name}' of {longest} tokens with {num_context} context tokens: "
                f"expected at most {self.max_tokens} together; use fewer context tokens"
            )
        before = {"end": num_context, "middle": num_context // 2, "front": 0}[position]
        context_at = torch.arange(num_context, device=lengths.device)
        context_at = context_at + (context_at >= before) * lengths
        first, num_closing = len(self._opening), len(self._closing)
        size = first + num_context + longest + num_closing
        ids = lengths.new_full((len(lengths), size), self._padding)
        for column, opening in enumerate(self._opening):
            ids[:, column] = opening
        # Context and closing tokens later replace the padding of shorter names.
        ids[:, first + before : first + before + longest] = self._ids[class_ids, :longest]
        end = first + num_context + lengths
        closing_at = end + torch.arange(num_closing, device=lengths.device)
        ids.scatter_(1, closing_at, self._closing.expand(len(lengths), -1))
        columns = torch.arange(size, device=lengths.device)
        return PromptLayout(
            ids=ids,
            context_at=first + context_at,
            attended=columns < end + num_closing,
            mask=columns[: num_context + longest] < num_context + lengths,
        )

    def _check_classes(self, class_ids: Tensor) -> None:
        if class_ids.ndim != 1 or not len(class_ids):
            raise InvalidInputError(
                f"class_ids: expected (K,) with at least one class, got {tuple(class_ids.shape)}"
            )
        if class_ids.dtype != torch.int64:
            raise InvalidInputError(
                f"class_ids: expected int64, got {class_ids.dtype}; convert with .long()"
            )
        low, high = torch.stack(class_ids.aminmax()).tolist()
        if low < 0 or high >= len(self._names):
            raise InvalidInputError(
                f"class_ids: expected classes in [0, {len(self._names)}), got [{low}, {high}]; "
                "build the encoder with the names of all classes"
            )

    def _check_context(self, context: Tensor, num_classes: int) -> None:
        shape = tuple(context.shape)
        is_valid = len(shape) == 2 or (len(shape) == 3 and shape[0] == num_classes)
        if not is_valid or shape[-1] != self.context_width:
            raise InvalidInputError(
                f"context: expected (M, {self.context_width}), or one per requested class, "
                f"({num_classes}, M, {self.context_width}), got {shape}"
            )


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
