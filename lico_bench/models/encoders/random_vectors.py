"""Fixed random vectors instead of a text encoder: the control without language.

Each word of a class name is one token with a separate random vector. A context token is multiplied
by a fixed random orthogonal matrix, so that it has a gradient. Draws are uniform: unlike normal
draws they have the same bits on every processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.models.encoders import (
    ENCODERS,
    EncoderEntry,
    EncoderIdentity,
    PromptLayout,
    TextEncoder,
)
from lico_bench.runtime import make_generator

WIDTH = 384  # as MiniLM
MAX_TOKENS = 510  # as MiniLM
REVISION = "1"  # of the definition below; increase it if the definition changes
PADDING = 0  # row of the table


class RandomEncoder(TextEncoder):
    """One vector per context token, and per class and word; tokens do not interact.

    Each vector is normalised to mean 0 and variance 1, the scale of a text encoder's last layer.
    The vectors of a class depend only on its index and number of words. The pooled vector is the
    mean over the tokens.

    Args:
        class_names: text of each class, in index order.

    Raises:
        InvalidInputError: if a class name has no word, or too many.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        lengths = [len(name.split()) for name in class_names]
        starts = [1 + sum(lengths[:index]) for index in range(len(lengths))]
        super().__init__(
            identify(),
            [
                (name, range(start, start + size))
                for name, start, size in zip(class_names, starts, lengths, strict=True)
            ],
            padding=PADDING,
            context_width=WIDTH,
            width=WIDTH,
            max_tokens=MAX_TOKENS,
        )
        words = [_draw(f", class {index}", size) for index, size in enumerate(lengths)]
        shared = _draw("", WIDTH + 1)
        self.table = nn.Parameter(torch.cat([shared[WIDTH:], *words]), requires_grad=False)
        q, r = torch.linalg.qr(shared[:WIDTH])
        # The signs of a QR factorisation are not unique; a positive diagonal of R fixes them.
        self.turn = nn.Parameter(q * r.diagonal().sign(), requires_grad=False)
        self.eval()

    def embeddings(self) -> Tensor:
        """Return the vectors of the words, which are not a vocabulary."""
        return self.table

    def hidden_states(self, prompts: PromptLayout, context: Tensor) -> Tensor:
        """See `TextEncoder.hidden_states`."""
        rows = prompts.insert(F.embedding(prompts.ids, self.table), context @ self.turn)
        return F.layer_norm(rows, (WIDTH,))


@lru_cache(maxsize=1)
def identify() -> EncoderIdentity:
    """Return name, revision, and checksum of the draws shared by all class lists.

    The vectors of the classes come from the same generator with other seeds, so a change of the
    generator changes the checksum too.
    """
    shared = _draw("", WIDTH + 1).numpy().astype("<f4").tobytes()
    return EncoderIdentity("random", REVISION, hashlib.sha256(shared).hexdigest())


def _draw(purpose: str, num_rows: int) -> Tensor:
    """Draw (num_rows, 384) values uniform in [-1, 1), equal in every process."""
    generator = make_generator(0, f"random encoder{purpose}")
    return 2 * torch.rand(num_rows, WIDTH, generator=generator) - 1


ENCODERS.add(
    "random",
    EncoderEntry(
        title="fixed random vectors",
        source="control, own definition",
        build=RandomEncoder,
        identify=identify,
    ),
)
