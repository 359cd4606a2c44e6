"""The prompts of the LICO objective: context tokens, their encoding, and each loss term's form.

Source: prompts after Zhou et al., IJCV 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import TextEncoder, TokenVectors
from lico_bench.training.distributed import Peers

if TYPE_CHECKING:
    from lico_bench.training.lico_options import LicoOptions

Points = tuple[Tensor, Tensor | None]  # (B, T, D) text features and their (B, T) token mask


class Prompts(nn.Module):
    """Learnable context tokens and their encoding together with class names.

    Attributes:
        tokens: (copies, 1 or K, M, W); None without context.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        num_classes: int,
        options: LicoOptions,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        num_context = options.num_context
        if num_context + encoder.longest_name > encoder.max_tokens:
            raise InvalidInputError(
                f"prompts: {num_context} context tokens and a class name of "
                f"{encoder.longest_name} tokens exceed the {encoder.max_tokens} tokens of text "
                f"encoder {encoder.identity.name}; lower num_context"
            )
        self._encode = encoder.encode
        self._options, self._generator = options, generator
        rows = num_classes if options.context == "per_class" else 1
        tokens = torch.empty(1, rows, num_context, encoder.context_width)
        tokens.normal_(0, options.context_std, generator=generator)
        if options.copies == "alike":
            tokens = tokens.roll(1, 2).repeat(max(1, num_context), 1, 1, 1)
        self.tokens = nn.Parameter(tokens) if num_context else None
        self._empty: Tensor
        self.register_buffer("_empty", tokens[:1, :, :0], persistent=False)

    def forward(self, class_ids: Tensor, *, num_copies: int = 1) -> list[TokenVectors]:
        """Encode the prompts of `class_ids` (K,) with each copy; all copies share a new order."""
        options = self._options
        order = torch.arange(options.num_context)
        if options.shuffle_context:
            order = torch.randperm(options.num_context, generator=self._generator)
        tokens: Tensor = self._empty if self.tokens is None else self.tokens
        encoded = []
        for number in range(num_copies):
            is_constant = number > 0 and options.ot_gradient == "none"
            with torch.set_grad_enabled(torch.is_grad_enabled() and not is_constant):
                # (1 or K, M, W)
                context = tokens[number] if options.copies == "alike" else tokens[0].roll(number, 1)
                context = context.index_select(1, order.to(context.device))
                rows = context[0] if len(context) == 1 else context.index_select(0, class_ids)
                encoded.append(self._encode(rows, class_ids, position=options.name_position))
        return encoded


class CachedPrompts(nn.Module):
    """Cache of all encoded prompts, for updates that do not encode them again.

    The values are buffers, so that a resumed training continues with the same cache. `whole` holds
    `TokenVectors.pooled`; its name is part of stored checkpoints.
    """

    vectors: Tensor
    mask: Tensor
    whole: Tensor
    updates: Tensor

    def __init__(self, encoder: TextEncoder, num_classes: int, options: LicoOptions) -> None:
        super().__init__()
        self._every = options.text_every
        num_tokens = options.num_context + encoder.longest_name
        for name, start in (
            ("vectors", torch.zeros(num_classes, num_tokens, encoder.width)),
            ("mask", torch.zeros(num_classes, num_tokens, dtype=torch.bool)),
            ("whole", torch.zeros(num_classes, encoder.width)),
            ("updates", torch.zeros((), dtype=torch.int64)),
        ):
            self.register_buffer(name, start)

    def next(self, encode: Callable[[], TokenVectors]) -> TokenVectors:
        """Return the result of `encode` every `text_every` updates, else the cached constants."""
        is_due = int(self.updates) % self._every == 0
        if self.training:
            self.updates += 1
        if not is_due:
            return TokenVectors(self.vectors, self.mask, self.whole)
        encoded = encode()
        for buffer, value in zip((self.vectors, self.mask, self.whole), encoded, strict=True):
            buffer.copy_(value.detach())
        return encoded


@dataclass
class PromptFeatures:
    """Text features of one step, in the form that each loss term needs.

    Manifold matching uses the complete batch; transport uses the local part of this process, by the
    method with the name of `ot_points`.

    Attributes:
        encoded: prompts of K classes, with the first copy of the context.
        wholes: (K, D_text) prompt vectors of each copy of the context.
        rows: (B,) row, in [0, K), of each sample of the complete batch.
        project: the MLP.
        peers: the processes that share the batch.
    """

    encoded: TokenVectors
    wholes: list[Tensor]
    rows: Tensor
    project: Callable[[Tensor], Tensor]
    peers: Peers

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """G (B, T, D) of each sample and its token mask (B, T); padding rows are zero."""
        mask = self.encoded.mask
        projected = self.project(self.encoded.vectors) * mask[:, :, None]
        return select_rows(projected, self.rows), mask[self.rows]

    def pooled(self) -> Tensor:
        """(B, D_text) prompt vector of each sample, before the MLP."""
        return select_rows(self.wholes[0], self.rows).float()

    def prompt_tokens(self) -> Points:
        """`tokens` of the local part; the mask gives padding no mass in the transport."""
        vectors, mask = self.tokens
        return self.peers.part(vectors), self.peers.part(mask)

    def rolled_contexts(self) -> Points:
        """(B, M, D) prompt of each sample's class with every copy of the context."""
        projected = self.project(torch.stack(self.wholes, 1))
        return select_rows(projected, self.peers.part(self.rows)), None

    def all_classes(self) -> Points:
        """(B, K, D) prompts of all classes, the same for every sample."""
        return self._for_every_sample(self.project(self.wholes[0]))

    def batch_prompts(self) -> Points:
        """(B, B, D) prompts of all samples of the batch, the same for every sample."""
        return self._for_every_sample(select_rows(self.project(self.wholes[0]), self.rows))

    def _for_every_sample(self, points: Tensor) -> Points:
        return points.expand(len(self.peers.part(self.rows)), -1, -1), None


def select_rows(rows: Tensor, indices: Tensor) -> Tensor:
    """`rows[indices]` with a deterministic order of summation in the backward pass."""
    return rows.index_select(0, indices)
