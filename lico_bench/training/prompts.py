"""Learnable prompts: context tokens around class names, read by a text encoder.

The context tokens are shared by all classes or one set per class; some readings of LICO hold
several copies of them. Source: Lei et al., NeurIPS 2023, figure 2; after Zhou et al., IJCV 2022.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import TextEncoder, TokenVectors
from lico_bench.runtime import make_generator

CONTEXTS = ("shared", "per_class")
COPIES = ("one", "rolled", "alike")
CLASS_NAMES = ("card", "sorted", "shuffled", "authors")
# The list in the released code (ymLeiFDU/LICO at 12fee2a): index 2, the birds, is "automobile".
AUTHORS_CIFAR10 = ("plane", "car", "automobile")
CARD_CIFAR10 = ("airplane", "automobile", "bird")


class Prompts(nn.Module):
    """Context tokens and how they are handed to the encoder.

    Args:
        encoder: reads the prompts.
        num_classes: K, for a context per class.
        num_context: M; 0 leaves the class name alone.
        context_std: standard deviation of the normal start.
        context: `shared` by all classes, or `per_class`.
        copies: `one`; `rolled`: copy i is the one context, turned by i places; `alike`: M
            contexts that all start as the same draw turned by one place.
        position: of the class name, see `TextEncoder.encode`.
        shuffle: read the context tokens in a new random order at each step.
        generator: of the start and of the orders.
    """

    tokens: nn.Parameter | None
    _empty: Tensor

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        num_classes: int,
        num_context: int,
        context_std: float,
        context: str,
        copies: str,
        position: str,
        shuffle: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if num_context + encoder.longest_name > encoder.max_tokens:
            raise InvalidInputError(
                f"prompts: {num_context} context tokens and a class name of "
                f"{encoder.longest_name} tokens do not fit into the {encoder.max_tokens} of "
                f"text encoder {encoder.identity.name}; lower num_context"
            )
        self._encode = encoder.encode
        self._copies, self._position, self._shuffle = copies, position, shuffle
        self._generator = generator
        rows = num_classes if context == "per_class" else 1
        start = torch.empty(1, rows, num_context, encoder.context_width)
        start.normal_(0, context_std, generator=generator)
        if copies == "alike":
            start = start.roll(1, 2).repeat(max(1, num_context), 1, 1, 1)
        self.tokens = nn.Parameter(start) if num_context else None
        self.register_buffer("_empty", start[0], persistent=False)

    @property
    def num_copies(self) -> int:
        """How many versions of a class's prompt there are."""
        if self.tokens is None or self._copies == "one":
            return 1
        return int(self.tokens.shape[2])

    def forward(
        self, class_ids: Tensor, *, num_copies: int = 1, constant_copies: bool = False
    ) -> list[TokenVectors]:
        """The prompts of `class_ids` (K,), one reading per copy; a new order for all of them.

        Args:
            num_copies: how many copies are read.
            constant_copies: let no gradient run through any but the first.
        """
        order = self._draw_order()
        read = []
        for copy in range(num_copies):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not (copy and constant_copies)):
                context = self._context(copy).index_select(1, order)
                rows = context[0] if len(context) == 1 else context.index_select(0, class_ids)
                read.append(self._encode(rows, class_ids, position=self._position))
        return read

    def _context(self, copy: int) -> Tensor:
        """(1 or K, M, W) of one copy."""
        if self.tokens is None:
            return self._empty
        if self._copies == "alike":
            return self.tokens[copy]
        return self.tokens[0].roll(copy, 1) if copy else self.tokens[0]

    def _draw_order(self) -> Tensor:
        length = 0 if self.tokens is None else self.tokens.shape[2]
        if self._shuffle and length:
            return torch.randperm(length, generator=self._generator).to(self._empty.device)
        return torch.arange(length, device=self._empty.device)


class HeldPrompts(nn.Module):
    """The last reading of all prompts, for updates that do not read them anew.

    Buffers, so that a training resumed between two readings goes on with the same values.
    """

    vectors: Tensor
    mask: Tensor
    whole: Tensor
    updates: Tensor

    def __init__(
        self, encoder: TextEncoder, *, num_classes: int, num_context: int, every: int
    ) -> None:
        super().__init__()
        self._every = every
        num_tokens = num_context + encoder.longest_name
        for name, start in (
            ("vectors", torch.zeros(num_classes, num_tokens, encoder.width)),
            ("mask", torch.zeros(num_classes, num_tokens, dtype=torch.bool)),
            ("whole", torch.zeros(num_classes, encoder.width)),
            ("updates", torch.zeros((), dtype=torch.int64)),
        ):
            self.register_buffer(name, start)

    def next(self, read: Callable[[], TokenVectors]) -> TokenVectors:
        """What `read` gives where a reading is due, with its gradient; else the last reading."""
        is_due = int(self.updates) % self._every == 0
        if self.training:
            self.updates += 1
        if not is_due:
            return TokenVectors(self.vectors, self.mask, self.whole)
        live = read()
        for held, now in zip((self.vectors, self.mask, self.whole), live, strict=True):
            held.copy_(now.detach())
        return live


def names_for_prompts(
    names: tuple[str, ...], choice: str, generator: torch.Generator
) -> tuple[str, ...]:
    """The text of each class, in index order, as a reading of LICO has it.

    `card`: the dataset's own names. `sorted`: in Python's order, as Fletcher et al.; the labels
    stay, so most classes get another's name. `authors`: the released code's list, which differs for
    CIFAR-10. `shuffled`: every class gets another's name, drawn once per seed.
    """
    if choice == "sorted":
        return tuple(sorted(names))
    if choice == "authors" and names[: len(CARD_CIFAR10)] == CARD_CIFAR10:
        return AUTHORS_CIFAR10 + names[len(AUTHORS_CIFAR10) :]
    if choice == "shuffled":
        # A generator of its own: the objective's other draws stay those of the other arms.
        own = make_generator(generator.initial_seed(), "shuffled names")
        order = torch.randperm(len(names), generator=own).tolist()
        # Each class takes the name of the next one in a random round: nobody keeps its own.
        given = {order[i]: names[order[i - 1]] for i in range(len(names))}
        return tuple(given[i] for i in range(len(names)))
    return names
