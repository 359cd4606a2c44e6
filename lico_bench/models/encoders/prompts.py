"""The tokens of a prompt: positions of context and class name, and words near a context token.

Used by all encoders. An input row consists of `opening, context and class name, closing, padding`.
Returned rows start after the opening and have the length of the longest requested prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError
from lico_bench.models.encoders import TokenVectors

POSITIONS = ("end", "middle", "front")


class PromptLayout(NamedTuple):
    """K prompts of L input positions, T of which are returned.

    Attributes:
        ids: (K, L) token ids; values at `context_at` are unused.
        context_at: (K, M) positions of the context tokens.
        attended: (K, L) bool, True up to the last closing token.
        mask: (K, T) bool, True at a token of the context or the name.
        first: position of the first returned token.
    """

    ids: Tensor
    context_at: Tensor
    attended: Tensor
    mask: Tensor
    first: int

    def insert(self, embedded: Tensor, context: Tensor) -> Tensor:
        """Return `embedded` ids (K, L, W) with context (M, W) or (K, M, W) at its positions."""
        if not self.context_at.shape[1]:
            return embedded
        rows = torch.arange(len(embedded), device=embedded.device)[:, None]
        return embedded.index_put((rows, self.context_at), context.to(embedded.dtype))

    def to_token_vectors(self, hidden: Tensor, pooled: Tensor) -> TokenVectors:
        """Return the rows of `hidden` (K, L, D) of context and name, with `pooled` (K, D)."""
        return TokenVectors(
            hidden[:, self.first : self.first + self.mask.shape[1]], self.mask, pooled
        )

    def mean(self, hidden: Tensor) -> Tensor:
        """Return the mean (K, D) of `hidden` (K, L, D) over the attended positions."""
        attended = self.attended[:, :, None]
        return (hidden * attended).sum(1) / attended.sum(1)

    def last(self, hidden: Tensor) -> Tensor:
        """Return the vectors (K, D) of `hidden` (K, L, D) at the last closing token."""
        return hidden[torch.arange(len(hidden), device=hidden.device), self.attended.sum(1) - 1]


class NameTokens(nn.Module):
    """Token ids of class names, and the layout of prompts around them.

    Args:
        class_names: text of each class, in index order.
        tokens: ids of each name.
        opening, closing: ids at the start and end of every prompt.
        padding: id of the positions after a prompt.
        context_width: size of one context token.
        max_tokens: maximum number of tokens of context and name together.

    Raises:
        InvalidInputError: without a class, or for a name without tokens or with too many.
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
        self.context_width, self.max_tokens = context_width, max_tokens
        self._names, self._opening, self._padding = tuple(class_names), tuple(opening), padding
        padded = [[*ids, *[padding] * (self.longest - len(ids))] for ids in tokens]
        self.register_buffer("_ids", torch.tensor(padded), persistent=False)
        self.register_buffer("_lengths", torch.tensor([*map(len, tokens)]), persistent=False)
        closing_ids = torch.tensor(closing, dtype=torch.int64)
        self.register_buffer("_closing", closing_ids, persistent=False)

    def arrange(self, context: Tensor, class_ids: Tensor, position: str) -> PromptLayout:
        """Return the prompt layout for the arguments of `TextEncoder.encode`; raises as it does."""
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

    def _check_context(self, context: Tensor, num_classes: int) -> None:
        shape = tuple(context.shape)
        is_valid = len(shape) == 2 or (len(shape) == 3 and shape[0] == num_classes)
        if not is_valid or shape[-1] != self.context_width:
            raise InvalidInputError(
                f"context: expected (M, {self.context_width}), or one per requested class, "
                f"({num_classes}, M, {self.context_width}), got {shape}"
            )


def readable_ids(
    vocabulary: Mapping[str, int], num_rows: int, is_readable: Callable[[str, int], bool]
) -> dict[int, str]:
    """Return readable tokens by ascending id, without ids beyond the embedding table."""
    readable = {
        number: token
        for token, number in vocabulary.items()
        if number < num_rows and is_readable(token, number)
    }
    return dict(sorted(readable.items()))


def check_tokens(context: Tensor, width: int) -> None:
    """Check that `context` is (M, width)."""
    if context.ndim != 2 or context.shape[1] != width:
        raise InvalidInputError(
            f"context: expected (M, {width}), the tokens of one prompt, got {tuple(context.shape)}"
        )


@torch.no_grad()
def nearest_tokens(
    context: Tensor, table: Tensor, tokens: Mapping[int, str], *, count: int
) -> list[list[tuple[str, float]]]:
    """Return the nearest `tokens` of each context token and their cosines, nearest first.

    Args:
        context: (M, W).
        table: (V, W) input embeddings.
        tokens: text of each considered row of `table`.
        count: number of tokens; all of them if there are fewer.

    Raises:
        InvalidInputError: for a context of another shape or a count below 1.
    """
    check_tokens(context, table.shape[1])
    check_count("count", count)
    ids, texts = list(tokens), list(tokens.values())
    rows = F.normalize(table[torch.tensor(ids, device=table.device)].float(), dim=1)
    cosines = F.normalize(context.to(rows.device).float(), dim=1) @ rows.T
    values, indices = cosines.topk(min(count, len(ids)), dim=1)
    return [
        [(texts[index], value) for index, value in zip(*row, strict=True)]
        for row in zip(indices.tolist(), values.tolist(), strict=True)
    ]
