"""Where each token of a prompt stands: context, class name, special tokens, padding.

Shared by all encoders. A row of an encoder's input reads `opening, context and class name,
closing, padding`; the rows handed out start after the opening and are as long as the longest asked
prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError
from lico_bench.models.encoders import TokenVectors

POSITIONS = ("end", "middle", "front")


class PromptLayout(NamedTuple):
    """K prompts of L input positions, T of which are handed out.

    Attributes:
        ids: (K, L) token ids; those at `context_at` stand for nothing.
        context_at: (K, M) positions of the context tokens.
        attended: (K, L) bool, True up to the last closing token.
        mask: (K, T) bool, True at a token of the context or the name.
        first: position of the first token that is handed out.
    """

    ids: Tensor
    context_at: Tensor
    attended: Tensor
    mask: Tensor
    first: int

    def insert(self, embedded: Tensor, context: Tensor) -> Tensor:
        """(K, L, W): `embedded` ids with the context (M, W) or (K, M, W) in its places."""
        if not self.context_at.shape[1]:
            return embedded
        rows = torch.arange(len(embedded), device=embedded.device)[:, None]
        return embedded.index_put((rows, self.context_at), context.to(embedded.dtype))

    def hand_out(self, hidden: Tensor, whole: Tensor) -> TokenVectors:
        """The rows of `hidden` (K, L, D) that belong to context and name, and `whole` (K, D)."""
        return TokenVectors(
            hidden[:, self.first : self.first + self.mask.shape[1]], self.mask, whole
        )

    def mean(self, hidden: Tensor) -> Tensor:
        """(K, D) mean of `hidden` (K, L, D) over the attended positions."""
        attended = self.attended[:, :, None]
        return (hidden * attended).sum(1) / attended.sum(1)

    def last(self, hidden: Tensor) -> Tensor:
        """(K, D) of `hidden` (K, L, D) at the last closing token."""
        return hidden[torch.arange(len(hidden), device=hidden.device), self.attended.sum(1) - 1]


class NameTokens(nn.Module):
    """Class names as token ids, and how prompts are laid out around them.

    Args:
        class_names: text of each class, in index order.
        tokens: ids of each name.
        opening, closing: ids that every prompt starts and ends with.
        padding: id of the positions after a prompt.
        context_width: size of one context token.
        max_tokens: most tokens of context and name together.

    Raises:
        InvalidInputError: without a class, or if a name has no token or does not fit.
    """

    _ids: Tensor
    _lengths: Tensor
    _closing: Tensor

    def __init__(
        self,
        class_names: Sequence[str],
        tokens: Sequence[Sequence[int]],
        *,
        opening: Sequence[int] = (),
        closing: Sequence[int] = (),
        padding: int,
        context_width: int,
        max_tokens: int,
    ) -> None:
        super().__init__()
        if not tokens:
            raise InvalidInputError("class_names: expected at least one, got none")
        for name, ids in zip(class_names, tokens, strict=True):
            if not 0 < len(ids) <= max_tokens:
                raise InvalidInputError(
                    f"class name '{name}': expected 1 to {max_tokens} tokens, got {len(ids)}; "
                    "change it in the dataset's card"
                )
        self.longest = max(map(len, tokens))
        self._names, self._max_tokens = tuple(class_names), max_tokens
        self._opening, self._padding, self._width = tuple(opening), padding, context_width
        padded = [[*ids, *[padding] * (self.longest - len(ids))] for ids in tokens]
        self.register_buffer("_ids", torch.tensor(padded), persistent=False)
        self.register_buffer("_lengths", torch.tensor([*map(len, tokens)]), persistent=False)
        closing_ids = torch.tensor(closing, dtype=torch.int64)
        self.register_buffer("_closing", closing_ids, persistent=False)

    def arrange(self, context: Tensor, class_ids: Tensor, position: str) -> PromptLayout:
        """The layout of the prompts that `TextEncoder.encode` is asked for; raises as it does."""
        check_choice("position", position, POSITIONS)
        self._check_classes(class_ids)
        self._check_context(context, len(class_ids))
        num_context = context.shape[-2]
        lengths = self._lengths[class_ids, None]
        longest = int(lengths.max())
        if num_context + longest > self._max_tokens:
            name = self._names[int(class_ids[lengths[:, 0].argmax()])]
            raise InvalidInputError(
                f"class name '{name}' of {longest} tokens with {num_context} context tokens: "
                f"expected at most {self._max_tokens} together; use fewer context tokens"
            )
        before = {"end": num_context, "middle": num_context // 2, "front": 0}[position]
        context_at = torch.arange(num_context, device=lengths.device)
        context_at = context_at + (context_at >= before) * lengths
        first, num_closing = len(self._opening), len(self._closing)
        size = first + num_context + longest + num_closing
        ids = lengths.new_full((len(lengths), size), self._padding)
        for column, opening in enumerate(self._opening):
            ids[:, column] = opening
        # A shorter name's padding lands where context or closing tokens replace it.
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
            first=first,
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

    def _check_context(self, context: Tensor, num_asked: int) -> None:
        shape = tuple(context.shape)
        fits = len(shape) == 2 or (len(shape) == 3 and shape[0] == num_asked)
        if not fits or shape[-1] != self._width:
            raise InvalidInputError(
                f"context: expected (M, {self._width}), or one per asked class, "
                f"({num_asked}, M, {self._width}), got {shape}"
            )
