"""Prompt features of one training step, in the form that each loss term of LICO needs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lico_bench.models import TokenVectors
from lico_bench.training.distributed import Peers

Points = tuple[Tensor, Tensor | None]  # (B, T, D) text features and their (B, T) token mask


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
