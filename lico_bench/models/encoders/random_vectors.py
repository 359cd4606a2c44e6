"""Fixed random vectors in place of a text encoder's: the control without language.

Nothing is read: a class name has as many tokens as words, each with a random vector of its own,
and a context token is turned by one random orthogonal map, so that its gradient reaches it. The
draws are uniform: unlike normal ones they are the same bits on every processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.models.encoders import ENCODERS, EncoderEntry, EncoderIdentity, TokenVectors
from lico_bench.models.encoders.prompt_layout import NameTokens
from lico_bench.models.encoders.vocabulary import check_tokens
from lico_bench.runtime import make_generator

WIDTH = 384  # as MiniLM
MAX_TOKENS = 510  # as MiniLM
REVISION = "1"  # of the rule below; a changed rule gets another
PADDING = 0  # row of the table


class RandomEncoder(nn.Module):
    """A vector per context token, class and word; tokens do not see each other.

    Each vector is brought to mean 0 and variance 1, the scale of a text tower's last layer. A
    class's vectors depend on its index and number of words alone. The vector of the whole prompt
    is the mean over its tokens.

    Args:
        class_names: text of each class, in index order.

    Raises:
        InvalidInputError: if a class name has no word, or too many.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.identity = identify()
        self.width = self.context_width = WIDTH
        self.max_tokens = MAX_TOKENS
        lengths = [len(name.split()) for name in class_names]
        starts = [1 + sum(lengths[:index]) for index in range(len(lengths))]
        self._names = NameTokens(
            class_names,
            [range(start, start + size) for start, size in zip(starts, lengths, strict=True)],
            padding=PADDING,
            context_width=WIDTH,
            max_tokens=MAX_TOKENS,
        )
        self.longest_name = self._names.longest
        words = [_draw(f", class {index}", size) for index, size in enumerate(lengths)]
        shared = _draw("", WIDTH + 1)
        self.table = nn.Parameter(torch.cat([shared[WIDTH:], *words]), requires_grad=False)
        turn, triangle = torch.linalg.qr(shared[:WIDTH])
        # The factorisation leaves the signs open; a positive diagonal settles them.
        self.turn = nn.Parameter(turn * triangle.diagonal().sign(), requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> RandomEncoder:
        """Stay in evaluation mode, as every frozen encoder."""
        return super().train(False)

    def encode(self, context: Tensor, class_ids: Tensor, *, position: str = "end") -> TokenVectors:
        """See `TextEncoder.encode`; (K, M + most words of a name, 384)."""
        prompts = self._names.arrange(context, class_ids, position)
        rows = prompts.insert(F.embedding(prompts.ids, self.table), context @ self.turn)
        vectors = F.layer_norm(rows, (WIDTH,))
        return prompts.hand_out(vectors, whole=prompts.mean(vectors))

    def nearest_words(self, context: Tensor, *, count: int = 3) -> list[list[tuple[str, float]]]:
        """An empty list per context token: there is no vocabulary."""
        check_tokens(context, WIDTH)
        check_count("count", count)
        return [[] for _ in range(len(context))]


@lru_cache(maxsize=1)
def identify() -> EncoderIdentity:
    """Name, revision of the rule, and checksum of the draws that all class lists share.

    The classes' vectors come from the same generator under seeds of their own, so what would
    change them changes the checksum too.
    """
    drawn = _draw("", WIDTH + 1).numpy().astype("<f4").tobytes()
    return EncoderIdentity("random", REVISION, hashlib.sha256(drawn).hexdigest())


def _draw(purpose: str, num_rows: int) -> Tensor:
    """(num_rows, 384) uniform in [-1, 1), the same in every process."""
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
