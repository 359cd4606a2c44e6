"""Learnable prompts: context tokens around class names, encoded by a text encoder.

The context tokens are shared by all classes, or each class has its own; some LICO variants use
several copies of them. `PromptFeatures` gives the encoded prompts of one step in the form that each
loss term needs. Source: Lei et al., NeurIPS 2023, figure 2; after Zhou et al., IJCV 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import TextEncoder, TokenVectors
from lico_bench.runtime import make_generator
from lico_bench.training.distributed import Peers

if TYPE_CHECKING:
    from lico_bench.training.arms.lico import LicoOptions

Points = tuple[Tensor, Tensor | None]  # (B, T, D) text features and their (B, T) token mask
CONTEXTS = ("shared", "per_class")
COPIES = ("one", "rolled", "alike")
CLASS_NAMES = ("card", "sorted", "shuffled", "authors")
# As in the released code (ymLeiFDU/LICO at 12fee2a): index 2, the class bird, is "automobile".
AUTHORS_CIFAR10 = ("plane", "car", "automobile")
CARD_CIFAR10 = ("airplane", "automobile", "bird")


class Prompts(nn.Module):
    """Context tokens and their encoding together with class names.

    Args:
        encoder: encodes the prompts.
        num_classes: K, for a context per class.
        options: of these, the prompts use
            num_context: M; with 0 a prompt is the class name alone.
            context_std: standard deviation of the normal initialisation.
            context: `shared` by all classes, or `per_class`.
            copies: `one`; `rolled`: copy i is the same context rolled by i positions; `alike`: M
                contexts, all initialised with the same draw rolled by one position.
            name_position: of the class name, see `TextEncoder.encode`.
            shuffle_context: draw a new order of the context tokens at each step.
        generator: for initialisation and orders.
    """

    tokens: nn.Parameter | None
    _empty: Tensor

    def __init__(
        self,
        encoder: TextEncoder,
        *,
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
        self.register_buffer("_empty", tokens[0], persistent=False)

    @property
    def num_copies(self) -> int:
        """Number of copies of the context."""
        if self.tokens is None or self._options.copies == "one":
            return 1
        return int(self.tokens.shape[2])

    def forward(
        self, class_ids: Tensor, *, num_copies: int = 1, constant_copies: bool = False
    ) -> list[TokenVectors]:
        """Encode the prompts of `class_ids` (K,) with each copy; all copies share a new order.

        Args:
            num_copies: number of copies to encode.
            constant_copies: only the first copy has a gradient.
        """
        order = self._draw_order()
        encoded = []
        for copy in range(num_copies):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not (copy and constant_copies)):
                context = self._context(copy).index_select(1, order)
                rows = context[0] if len(context) == 1 else context.index_select(0, class_ids)
                position = self._options.name_position
                encoded.append(self._encode(rows, class_ids, position=position))
        return encoded

    def _context(self, copy: int) -> Tensor:
        """(1 or K, M, W) of one copy."""
        if self.tokens is None:
            return self._empty
        if self._options.copies == "alike":
            return self.tokens[copy]
        return self.tokens[0].roll(copy, 1) if copy else self.tokens[0]

    def _draw_order(self) -> Tensor:
        length = 0 if self.tokens is None else self.tokens.shape[2]
        if self._options.shuffle_context and length:
            return torch.randperm(length, generator=self._generator).to(self._empty.device)
        return torch.arange(length, device=self._empty.device)


class CachedPrompts(nn.Module):
    """Cache of all encoded prompts, for updates that do not encode them again.

    The values are buffers, so that a resumed training continues with the same cache. `whole` holds
    `TokenVectors.pooled`; its name is part of stored checkpoints.
    """

    vectors: Tensor
    mask: Tensor
    whole: Tensor
    updates: Tensor

    def __init__(self, encoder: TextEncoder, *, num_classes: int, options: LicoOptions) -> None:
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


class PromptFeatures:
    """Text features of one step, in the form that each loss term needs.

    Manifold matching uses the complete batch; transport uses the local part of this process.

    Args:
        token_vectors: of the prompts of K classes, with the first copy of the context.
        pooled: (K, D_text) prompt vectors of each copy of the context.
        row_of_sample: (B,) row, in [0, K), of each sample of the complete batch.
        project: the MLP.
        peers: the processes that share the batch.
    """

    def __init__(
        self,
        token_vectors: TokenVectors,
        pooled: list[Tensor],
        row_of_sample: Tensor,
        project: Callable[[Tensor], Tensor],
        peers: Peers,
    ) -> None:
        self._token_vectors, self._pooled = token_vectors, pooled
        self._row_of_sample, self._project, self._peers = row_of_sample, project, peers
        self._local_rows = peers.part(row_of_sample)
        self._tokens: Points | None = None

    def tokens(self) -> Points:
        """G (B, T, D) of each sample and its token mask (B, T); padding rows are zero."""
        if self._tokens is None:
            vectors, mask, _ = self._token_vectors
            rows = self._project(vectors) * mask[:, :, None]
            self._tokens = select_rows(rows, self._row_of_sample), mask[self._row_of_sample]
        return self._tokens

    def local_tokens(self) -> Points:
        """`tokens` of the local part; the mask gives padding no mass in the transport."""
        rows, mask = self.tokens()
        return self._peers.part(rows), None if mask is None else self._peers.part(mask)

    def pooled(self) -> Tensor:
        """(B, D_text) prompt vector of each sample, before the MLP."""
        return select_rows(self._pooled[0], self._row_of_sample).float()

    def rolled_contexts(self) -> Points:
        """(B, M, D) prompt of each sample's class with every copy of the context."""
        return select_rows(self._project(torch.stack(self._pooled, 1)), self._local_rows), None

    def all_classes(self) -> Points:
        """(B, K, D) prompts of all classes, the same for every sample."""
        return self._project(self._pooled[0]).expand(len(self._local_rows), -1, -1), None

    def batch_prompts(self) -> Points:
        """(B, B, D) prompts of all samples of the batch, the same for every sample."""
        projected = select_rows(self._project(self._pooled[0]), self._row_of_sample)
        return projected.expand(len(self._local_rows), -1, -1), None


def select_rows(rows: Tensor, indices: Tensor) -> Tensor:
    """`rows[indices]` with a deterministic order of summation in the backward pass."""
    return rows.index_select(0, indices)


def names_for_prompts(
    names: tuple[str, ...], choice: str, generator: torch.Generator
) -> tuple[str, ...]:
    """Return the class name to use in the prompt of each class, in index order.

    `card`: the names of the dataset card. `sorted`: sorted as in Fletcher et al.; the labels stay,
    so most classes get the name of another class. `authors`: the list of the released code, which
    differs for CIFAR-10. `shuffled`: every class gets the name of another class, drawn once per
    seed.
    """
    if choice == "sorted":
        return tuple(sorted(names))
    if choice == "authors" and names[: len(CARD_CIFAR10)] == CARD_CIFAR10:
        return AUTHORS_CIFAR10 + names[len(AUTHORS_CIFAR10) :]
    if choice == "shuffled":
        # A separate generator keeps the other draws of the objective equal to those of other arms.
        name_generator = make_generator(generator.initial_seed(), "shuffled names")
        order = torch.randperm(len(names), generator=name_generator).tolist()
        # A random cycle: each class takes the name of its predecessor, so no class keeps its name.
        name_of = {order[i]: names[order[i - 1]] for i in range(len(names))}
        return tuple(name_of[i] for i in range(len(names)))
    return names
