"""Training objectives: weighted sums of named terms, each with the parts it must train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import TrainingError
from lico_bench.records import Output
from lico_bench.training.distributed import SINGLE_PROCESS, Peers

Gradients = dict[str, dict[str, float]]  # norm by term and part


class Batch(NamedTuple):
    """Inputs of an objective in one step.

    With several processes this is the local part of the batch. Take means over samples on the
    local part. To compare samples with each other, use `peers.gather`. Make random draws for the
    complete batch and use `peers.part` of them.

    Attributes:
        images: (B, 3, H, W) in [0, 1], augmented.
        labels: (B,) int64.
        output: of the classifier for `images`. `logits` are float32 and a function of `features`,
            which have the precision of the training.
        classifier: for additional forward passes, in the precision of the training.
        peers: the processes that hold the other parts.
        complete_labels: labels of the complete batch; None if this is the complete batch.
    """

    images: Tensor
    labels: Tensor
    output: Output
    classifier: Callable[[Tensor], Output]
    peers: Peers = SINGLE_PROCESS
    complete_labels: Tensor | None = None

    @property
    def all_labels(self) -> Tensor:
        """Labels of the complete batch."""
        return self.labels if self.complete_labels is None else self.complete_labels


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Attributes:
        weight: factor in the sum.
        trains: parts on which the term must have a gradient: `features` and `head` of the
            classifier, or parts of the objective. Training checks this at its first step. Empty for
            a term that is a constant in the code it reproduces.
    """

    name: str
    weight: float
    trains: tuple[str, ...]


CROSS_ENTROPY = Term("cross_entropy", 1.0, ("features", "head"))


class Objective(nn.Module):
    """A weighted sum of terms, optionally with trainable parameters.

    A subclass declares `terms` and returns the value of each from `forward`.

    Args:
        generator: for all random draws of the objective; its state is part of checkpoints.
    """

    terms: tuple[Term, ...] = (CROSS_ENTROPY,)

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator or torch.Generator()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the unweighted value () of each declared term."""
        return {"cross_entropy": F.cross_entropy(batch.output.logits, batch.labels)}

    def total(self, values: Mapping[str, Tensor], *, position: float = 0.0) -> Tensor:
        """Return the weighted sum, ().

        Args:
            position: share of the updates of the training before this one, in [0, 1).
        """
        factor = self.term_factor(position)
        weights = [t.weight if t is CROSS_ENTROPY else t.weight * factor for t in self.terms]
        return torch.stack(
            [weight * values[t.name] for weight, t in zip(weights, self.terms, strict=True)]
        ).sum()

    def term_factor(self, position: float) -> float:
        """Return the factor on the weight of every term but the cross-entropy at `position`."""
        return 1.0

    def parts(self) -> dict[str, Sequence[nn.Parameter]]:
        """Return the objective's parameters by the part names used in `Term.trains`."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the objective's optimiser groups, with settings that differ from the recipe."""
        return []

    def diagnostics(self) -> dict[str, float]:
        """Return numbers of the last step for the history."""
        return {}

    def findings(self) -> dict[str, Any]:
        """Return JSON-ready results of the trained objective other than numbers."""
        return {}

    def get_extra_state(self) -> Tensor:
        """Return the generator state, so that a resumed training repeats its draws."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator state."""
        self.generator.set_state(state.cpu())


def term_gradients(
    objective: Objective,
    values: Mapping[str, Tensor],
    classifier: nn.Module,
    backward: Callable[[Tensor], None],
) -> Gradients:
    """Return the gradient norm of each weighted term on each part, {term: {part: norm}}.

    Parts are the classifier's children and those of the objective. Norms are Euclidean. All
    parameters are left without a gradient.

    Args:
        backward: adds the gradient of a value to the parameters and retains the graph.
    """
    parts: dict[str, Sequence[nn.Parameter]] = {
        name: list(module.parameters()) for name, module in classifier.named_children()
    }
    parts |= objective.parts()

    def clear_gradients() -> None:
        classifier.zero_grad()
        objective.zero_grad()

    norms: Gradients = {}
    for term in objective.terms:
        clear_gradients()
        if values[term.name].requires_grad:
            backward(term.weight * values[term.name])
        norms[term.name] = {name: _gradient_norm(part) for name, part in parts.items()}
    clear_gradients()
    return norms


def assert_terms_train(objective: Objective, gradients: Gradients) -> None:
    """Check that every term has a non-zero, finite gradient on each part it must train.

    Raises:
        TrainingError: naming the term and the part, so that a loss without effect is found at the
            first step and not in the results.
    """
    for term in objective.terms:
        for part in term.trains:
            norm = gradients[term.name][part]
            if not 0 < norm < float("inf"):
                raise TrainingError(
                    f"loss term '{term.name}': its gradient on {part} is {norm:g} at the first "
                    f"step, but the arm declares that it trains {part}; correct the objective"
                )


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    squares = [p.grad.float().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
