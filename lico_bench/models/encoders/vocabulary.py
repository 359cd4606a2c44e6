"""Words of an encoder's vocabulary that lie nearest to learned context tokens."""

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
    """The tokens that may be shown, by id, ascending; ids beyond the embedding table have none."""
    shown = {
        number: token
        for token, number in vocabulary.items()
        if number < num_rows and is_readable(token, number)
    }
    return dict(sorted(shown.items()))


def check_tokens(context: Tensor, width: int) -> None:
    """Raise unless `context` is (M, width)."""
    if context.ndim != 2 or context.shape[1] != width:
        raise InvalidInputError(
            f"context: expected (M, {width}), the tokens of one prompt, got {tuple(context.shape)}"
        )


@torch.no_grad()
def nearest_tokens(
    context: Tensor, table: Tensor, tokens: Mapping[int, str], *, count: int
) -> list[list[tuple[str, float]]]:
    """For each of M context tokens the nearest of `tokens` and their cosines, nearest first.

    Args:
        context: (M, W).
        table: (V, W) input embeddings.
        tokens: what is at which row of `table`.
        count: how many; all of them where there are fewer.

    Raises:
        InvalidInputError: for a context of another shape or a count below 1.
    """
    check_tokens(context, table.shape[1])
    check_count("count", count)
    ids, texts = list(tokens), list(tokens.values())
    rows = F.normalize(table[torch.tensor(ids, device=table.device)].float(), dim=1)
    cosines = F.normalize(context.to(rows.device).float(), dim=1) @ rows.T
    values, places = cosines.topk(min(count, len(ids)), dim=1)
    return [
        [(texts[place], value) for place, value in zip(*pair, strict=True)]
        for pair in zip(places.tolist(), values.tolist(), strict=True)
    ]
