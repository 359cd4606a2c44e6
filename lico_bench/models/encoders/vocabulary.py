"""Find the words of an encoder's vocabulary that are nearest to learned context tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError


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
